import type { ServerWritableStream } from '@grpc/grpc-js';
import { crc32c, quote, ShadowkeepError } from '../../common/index.js';
import { planRead, type Reader, type ReadPlan, type Run, readBytes } from '../../engine/index.js';
import {
  frameShadowChunk,
  type GetShadow,
  type GetShadowRequest__Output,
  type GetShadowResponse,
  selectNames,
  shadowTensorMessages,
  stepFields,
  validateGetShadow,
} from '../../wire/index.js';
import { callSignal } from '../call-signal.js';
import { findVersion } from '../find-version.js';
import { PacedWriter } from '../paced-writer.js';
import type { Service } from '../service.js';

/** Chunks are encoded by hand: a Buffer is a finished GetShadowResponse. */
export type GetShadowCall = ServerWritableStream<GetShadowRequest__Output, GetShadowResponse | Buffer>;

/** Streams the bytes of one version, which stays pinned until the last of them is with gRPC. */
export async function getShadow(service: Service, call: GetShadowCall): Promise<void> {
  const request = validateGetShadow(call.request);
  const run = service.table.get(request.run);
  const { signal, end } = callSignal(call);
  const forget = service.trackStream(end);
  const activity = service.activity(run);
  activity.readersConnected += 1;
  try {
    const plan = planFor(run, request);
    const firstOffset = firstOffsetOf(request, plan);
    const reader = await findVersion(run, request.wish, request.waitMs, signal);
    try {
      await sendVersion(service, call, run, reader, plan, request, firstOffset, signal);
      reader.release();
    } catch (error) {
      // A broken read can be resumed for a while; an evicted one holds nothing any more.
      setTimeout(() => reader.release(), service.options.readLeaseMs).unref();
      throw error;
    }
  } finally {
    forget();
    activity.readersConnected -= 1;
  }
}

function planFor(run: Run, request: GetShadow): ReadPlan {
  const { averages } = run.spec;
  const index = request.average === '' ? 0 : averages.findIndex(({ name }) => name === request.average);
  if (index < 0 || (request.average === '' && averages.length > 1)) {
    const names = averages.map(({ name }) => quote(name)).join(', ');
    const problem =
      request.average === '' ? 'several averages, name one of' : `no average ${quote(request.average)}, it has`;
    throw new ShadowkeepError('AVERAGE_NOT_FOUND', `run ${quote(run.spec.name)} has ${problem} ${names}`);
  }
  const names = run.layout.tensors.filter(({ policy }) => policy !== 'IGNORE').map(({ name }) => name);
  return planRead(run.layout, run.planes, index, selectNames(request.names, names), request.dtype);
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
  plan: ReadPlan,
  request: GetShadow,
  firstOffset: number,
  signal: AbortSignal,
): Promise<void> {
  const writer = new PacedWriter(call, service.options.readStallTimeoutMs);
  const send = async (message: GetShadowResponse | Buffer): Promise<void> => {
    const inTime = await writer.write(message);
    signal.throwIfAborted();
    if (!inTime) {
      throw new ShadowkeepError(
        'READER_STALLED',
        `the reader took nothing for ${service.options.readStallTimeoutMs} ms`,
      );
    }
  };
  const activity = service.activity(run);
  const { totalBytes } = plan;
  await send({ header: headerOf(run, reader, plan, activity.durableStep) });
  for (let offset = firstOffset; offset < totalBytes; ) {
    checkHeld(run, reader);
    const frame = frameShadowChunk(offset, Math.min(request.chunkBytes, totalBytes - offset), request.checksums);
    readBytes(reader.version, plan, offset, frame.data);
    if (request.checksums) frame.setCrc32c(crc32c(frame.data));
    offset += frame.data.length;
    activity.bytesSent += frame.data.length;
    await send(frame.message);
  }
  await send({ end: { total_bytes: totalBytes } });
}

function headerOf(
  run: Run,
  reader: Reader,
  plan: ReadPlan,
  durableStep: number | undefined,
): NonNullable<GetShadowResponse['header']> {
  const { version } = reader;
  const state = version.states[plan.averagedPlane];
  return {
    run: run.spec.name,
    average: run.spec.averages[plan.averagedPlane]?.name ?? '',
    step: version.step ?? 0,
    num_updates: state?.numUpdates ?? 0,
    generation: version.generation,
    weight: state?.weight ?? 0,
    version: version.id,
    tensors: shadowTensorMessages(plan),
    total_bytes: plan.totalBytes,
    ...stepFields(undefined, durableStep),
  };
}

/** An evicted version's pages belong to others: throws before they are read. */
function checkHeld(run: Run, reader: Reader): void {
  if (reader.evicted === 'DELETED') throw run.deletedError();
  if (reader.evicted === 'MEMORY') {
    throw new ShadowkeepError(
      'VERSION_EVICTED',
      `step ${reader.version.step} of run ${quote(run.spec.name)} was evicted: a new step needed its memory`,
    );
  }
}
