import type { ServerWritableStream } from '@grpc/grpc-js';
import { crc32c, quote, ShadowkeepError } from '../../common/index.js';
import { type Reader, type ReadPlan, type Run, readBytes } from '../../engine/index.js';
import {
  type DecodedGetShadow,
  frameShadowChunk,
  type GetShadow,
  type GetShadowResponse,
  shadowTensorParts,
  shadowWeightsDefinition,
  stepFields,
  type VersionWish,
  validateGetShadow,
} from '../../wire/index.js';
import { callSignal } from '../call-signal.js';
import { findVersion } from '../find-version.js';
import { inTurns, nextTurn, soon } from '../in-slices.js';
import { PacedWriter } from '../paced-writer.js';
import { isReadable, type PlannedShadow, planShadow, selectShadow } from '../planned-shadow.js';
import type { Service } from '../service.js';
import type { Claim } from '../transport/room.js';

/** Chunks are encoded by hand: a Buffer is a finished GetShadowResponse. */
export type GetShadowCall = ServerWritableStream<DecodedGetShadow, GetShadowResponse | Buffer>;

/** Streams the bytes of one version, which stays pinned until the last of them is with gRPC. */
export async function getShadow(service: Service, call: GetShadowCall): Promise<void> {
  const request = validateGetShadow(call.request);
  const run = service.table.get(request.run);
  const { signal, end } = callSignal(call);
  const forget = service.trackStream(end, true);
  const activity = service.activity(run);
  activity.readersConnected += 1;
  service.readTurns.readerCount += 1;
  try {
    // What is wrong with the request is said before the wait; a combination depends on what the version holds.
    const selection = await inTurns(selectShadow(run, request));
    const reader = await findVersion(run, wishFor(request), request.waitMs, signal, (version) =>
      isReadable(run, version, request),
    );
    try {
      const shadow = await inTurns(planShadow(run, reader.version, request, selection));
      await sendVersion(service, call, run, reader, shadow, request, firstOffsetOf(request, shadow.plan), signal);
      reader.release();
    } catch (error) {
      // A broken read can be resumed for a while; an evicted one holds nothing any more.
      setTimeout(() => reader.release(), service.options.readLeaseMs).unref();
      throw error;
    }
  } finally {
    forget();
    activity.readersConnected -= 1;
    service.readTurns.readerCount -= 1;
  }
}

/** The version that is waited for: an older step of a combination is among what a newer version holds. */
function wishFor({ gamma, wish }: GetShadow): VersionWish {
  return gamma !== undefined && wish.kind === 'step' ? { kind: 'min_step', step: wish.step } : wish;
}

/** Where a read begins: at 0, or where a broken one left off. */
function firstOffsetOf({ wish }: GetShadow, { totalBytes }: ReadPlan): number {
  const offset = wish.kind === 'resume' ? wish.offset : 0;
  if (offset > totalBytes) {
    throw new ShadowkeepError('INVALID_FIELD', `resume.offset must be at most ${totalBytes}, got ${offset}`, {
      metadata: { field: 'resume.offset' },
    });
  }
  return offset;
}

async function sendVersion(
  service: Service,
  call: GetShadowCall,
  run: Run,
  reader: Reader,
  shadow: PlannedShadow,
  request: GetShadow,
  firstOffset: number,
  signal: AbortSignal,
): Promise<void> {
  const writer = new PacedWriter(call, service.options.readStallTimeoutMs, () => service.readTurns.inFlightMax);
  const meter = service.transport.meterOf(call);
  const send = async (message: Buffer, room?: Claim): Promise<void> => {
    const inTime = await writer.write(message, () => meter?.answerTaken(room));
    signal.throwIfAborted();
    if (!inTime) {
      throw new ShadowkeepError(
        'READER_STALLED',
        `the reader took nothing for ${service.options.readStallTimeoutMs} ms`,
      );
    }
  };
  const activity = service.activity(run);
  const reads = service.readTurns;
  const { totalBytes } = shadow.plan;
  let header: GetShadowResponse['header'] = headerOf(run, reader, shadow, activity.durableStep);
  for (const tensors of shadowTensorParts(shadow.plan)) {
    const part = encode(header === undefined ? { tensors: { tensors } } : { header: { ...header, tensors } });
    await send(part, await meter?.answerRoom(part.length, signal));
    header = undefined;
    if (tensors.length < shadow.plan.tensors.length) await nextTurn();
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
    const frame = frameShadowChunk(offset, bytes, request.checksums);
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
    tensor_count: plan.tensors.length,
    total_bytes: plan.totalBytes,
    ...stepFields(undefined, durableStep),
  };
}

/** An evicted version's pages belong to others: throws before what was read of them is sent. */
function checkHeld(run: Run, reader: Reader): void {
  if (reader.evicted === 'DELETED') throw run.deletedError();
  if (reader.evicted === 'MEMORY') {
    throw new ShadowkeepError(
      'VERSION_EVICTED',
      `step ${reader.version.step} of run ${quote(run.spec.name)} was evicted: a new step needed its memory`,
    );
  }
}
