import type { ServerWritableStream } from '@grpc/grpc-js';
import { crc32c, quote, ShadowkeepError } from '../../common/index.js';
import { type Reader, type ReadPlan, type Run, readBytes } from '../../engine/index.js';
import {
  type EntryPart,
  frameShadowChunk,
  type GetShadowResponse,
  shadowWeightsDefinition,
} from '../../protocol/index.js';
import { callSignal } from '../calls/call-signal.js';
import { inTurns, nextTurn, soon } from '../loop/in-slices.js';
import {
  type DecodedGetShadow,
  type GetShadow,
  requestDecoder,
  shadowTensorMessages,
  shadowTensorParts,
  stepFields,
  type VersionWish,
  validateGetShadow,
} from '../messages/index.js';
import { findRun, findVersion, Wait } from '../reads/find-version.js';
import { PacedWriter } from '../reads/paced-writer.js';
import { isReadable, type PlannedShadow, planShadow, selectShadow } from '../reads/planned-shadow.js';
import { ReadLease } from '../reads/read-lease.js';
import type { Service } from '../service.js';
import type { Claim } from '../transport/room.js';
import type { StreamMeter } from '../transport/stream-meter.js';

/**
 * The request holds its bytes until the handler decodes them. A response that is a Buffer is an encoded
 * GetShadowResponse.
 */
export type GetShadowCall = ServerWritableStream<{ bytes: Buffer }, GetShadowResponse | Buffer>;

const decode = requestDecoder<DecodedGetShadow>(shadowWeightsDefinition.GetShadow);
const NO_BYTES = Buffer.alloc(0);

/** Streams the bytes of one version. The version stays pinned until gRPC has its last byte. */
export async function getShadow(service: Service, call: GetShadowCall): Promise<void> {
  const { signal, end } = callSignal(call);
  const forget = service.trackStream(end, true);
  const lease = new ReadLease(service.table.ledger);
  try {
    // A large request is decoded in one go. Only one is decoded in each turn of the loop, so that its memory is
    // reserved before the next one is decoded.
    await nextTurn();
    const request = takeRequest(call);
    const wait = new Wait(request.waitMs);
    const run = await findRun(service.table, request.run, wait, signal);
    lease.reserve(request, run.layout);
    service.transport.meterOf(call)?.requestTaken();
    await readRun({ service, call, run, request, signal }, wait);
  } finally {
    lease.release();
    forget();
  }
}

function takeRequest(call: GetShadowCall): GetShadow {
  const request = decode(call.request.bytes);
  call.request.bytes = NO_BYTES;
  if (request instanceof ShadowkeepError) throw request;
  return validateGetShadow(request);
}

/** A read under way. */
interface Read {
  readonly service: Service;
  readonly call: GetShadowCall;
  readonly run: Run;
  readonly request: GetShadow;
  readonly signal: AbortSignal;
}

async function readRun(read: Read, wait: Wait): Promise<void> {
  const { service, run, request, signal } = read;
  const activity = service.activity(run);
  activity.readersConnected += 1;
  service.readTurns.readerCount += 1;
  try {
    // A bad request is refused before the wait, except for the boxes of a combination, which depend on the version.
    const selection = await inTurns(selectShadow(run, request));
    const reader = await findVersion(run, wishFor(request), wait, signal, (version) =>
      isReadable(run, version, request),
    );
    try {
      await sendVersion(read, reader, await inTurns(planShadow(run, reader.version, request, selection)));
      reader.release();
    } catch (error) {
      releaseLater(reader, service.options.readLeaseMs);
      throw error;
    }
  } finally {
    activity.readersConnected -= 1;
    service.readTurns.readerCount -= 1;
  }
}

/**
 * Keeps the version of a broken read for `leaseMs`, so that the client can resume the read. Takes the reader alone, so
 * that the timer keeps nothing else of the read alive.
 */
function releaseLater(reader: Reader, leaseMs: number): void {
  setTimeout(() => reader.release(), leaseMs).unref();
}

/** The version to wait for. A combination of step S is made of snapshots, so any version from S on serves it. */
function wishFor({ gamma, wish }: GetShadow): VersionWish {
  return gamma !== undefined && wish.kind === 'step' ? { kind: 'min_step', step: wish.step } : wish;
}

/** The offset in the read's bytes where sending begins: 0, or where a broken read left off. Throws INVALID_FIELD. */
function firstOffsetOf({ wish }: GetShadow, { tensors: { totalBytes } }: ReadPlan): number {
  const offset = wish.kind === 'resume' ? wish.offset : 0;
  if (offset > totalBytes) {
    throw new ShadowkeepError('INVALID_FIELD', `resume.offset must be at most ${totalBytes}, got ${offset}`, {
      metadata: { field: 'resume.offset' },
    });
  }
  return offset;
}

async function sendVersion(read: Read, reader: Reader, shadow: PlannedShadow): Promise<void> {
  const { service, call, run, request, signal } = read;
  const firstOffset = firstOffsetOf(request, shadow.plan);
  const meter = service.transport.meterOf(call);
  const send = sendInTime(read, meter);
  const activity = service.activity(run);
  const reads = service.readTurns;
  const { totalBytes } = shadow.plan.tensors;
  for (const part of shadowTensorParts(shadow.plan)) {
    const room = await meter?.answerRoom(part.bytes, signal);
    await nextTurn();
    signal.throwIfAborted();
    const header = part.begin === 0 ? headerOf(run, reader, shadow, activity.durableStep) : undefined;
    await send(encodeTensors(shadow.plan, part, header), room);
  }
  for (let offset = firstOffset; offset < totalBytes; ) {
    const bytes = Math.min(
      request.chunkBytes,
      service.transport.readChunkBytes(reads.readerCount),
      totalBytes - offset,
    );
    await reads.turn(bytes);
    const room = await meter?.answerRoom(bytes, signal);
    signal.throwIfAborted();
    const frame = frameShadowChunk({ offset, dataBytes: bytes, withCrc32c: request.checksums });
    await soon(readBytes(shadow.plan, offset, frame.data));
    checkHeld(run, reader);
    if (request.checksums) frame.setCrc32c(crc32c(frame.data));
    offset += frame.data.length;
    activity.bytesSent += frame.data.length;
    reader.sentBytes += frame.data.length;
    await send(frame.message, room);
  }
  await send(encode({ end: { total_bytes: totalBytes } }));
}

/**
 * Makes a function that writes a message and waits until the stream has room for the next one. It throws READER_STALLED
 * when the peer takes nothing for the read stall timeout.
 */
function sendInTime({ service, call, signal }: Read, meter: StreamMeter | undefined) {
  const { readStallTimeoutMs } = service.options;
  const writer = new PacedWriter(call, readStallTimeoutMs, () => service.readTurns.inFlightMax);
  return async (message: Buffer, room?: Claim): Promise<void> => {
    const inTime = await writer.write(message, () => meter?.answerTaken(room));
    signal.throwIfAborted();
    if (inTime) return;
    throw new ShadowkeepError('READER_STALLED', `the reader took nothing for ${readStallTimeoutMs} ms`);
  };
}

/**
 * This is a function of its own so that the tensor messages are garbage before the encoded message waits for the peer.
 */
function encodeTensors(plan: ReadPlan, part: EntryPart, header: GetShadowResponse['header'] | undefined): Buffer {
  const tensors = shadowTensorMessages(plan, part);
  return encode(header === undefined ? { tensors: { tensors } } : { header: { ...header, tensors } });
}

const encode = (response: GetShadowResponse): Buffer => shadowWeightsDefinition.GetShadow.responseSerialize(response);

function headerOf(
  run: Run,
  { version }: Reader,
  { plan, header }: PlannedShadow,
  durableStep: number | undefined,
): NonNullable<GetShadowResponse['header']> {
  return {
    run: run.spec.name,
    ...header,
    generation: version.generation,
    version: version.id,
    tensor_count: plan.tensors.count,
    total_bytes: plan.tensors.totalBytes,
    ...stepFields(undefined, durableStep),
  };
}

/** Throws when the version was evicted: its pages may belong to others now, so what was just read must not be sent. */
function checkHeld(run: Run, reader: Reader): void {
  if (reader.evicted === 'DELETED') throw run.deletedError();
  if (reader.evicted === 'MEMORY') {
    throw new ShadowkeepError(
      'VERSION_EVICTED',
      `step ${reader.version.step} of run ${quote(run.spec.name)} was evicted: a new step needed its memory`,
    );
  }
}
