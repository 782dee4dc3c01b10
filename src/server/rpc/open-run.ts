import type { ServerReadableStream } from '@grpc/grpc-js';
import { CHUNK_BYTES, CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX, ShadowkeepError } from '../../common/index.js';
import type { OpenRunResponse } from '../../protocol/index.js';
import { PeerGone } from '../calls/call-signal.js';
import { StreamInput } from '../calls/stream-input.js';
import { inTurns } from '../loop/in-slices.js';
import { checkLayoutBytes, type OpenRun, stepFields } from '../messages/index.js';
import type { Service } from '../service.js';
import { attachTrainer } from '../trainers/attach-trainer.js';
import { powerOfTwoWithin } from '../transport/power-of-two.js';
import type { Transport } from '../transport/transport.js';

/** The requests come as their bytes, because they are decoded in slices. */
export type OpenRunInPartsCall = ServerReadableStream<Buffer, OpenRunResponse>;

/** Twenty times the parts that the largest layout needs (48 of 1 MiB): a client that sends smaller ones has a bug. */
const PART_COUNT_MAX = 1_024;

/** Creates a run or attaches to it, and issues a generation. */
export async function openRun(service: Service, request: Buffer): Promise<OpenRunResponse> {
  service.checkServing();
  return await open(service, [request]);
}

/** Opens a run whose request comes in several messages. */
export async function openRunInParts(service: Service, call: OpenRunInPartsCall): Promise<OpenRunResponse> {
  service.checkServing();
  const { ledger } = service.table;
  const input = new StreamInput(call, service.transport.meterOf(call));
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of input) {
      // A request has bytes beside its layout. This early bound allows for them; the decoder checks the layout itself.
      checkLayoutBytes(bytes + part.length - MESSAGE_BYTES_MAX);
      ledger.reserve(part.length, 'a layout in parts');
      bytes += part.length;
      if (parts.push(part) > PART_COUNT_MAX) {
        throw new ShadowkeepError('INVALID_FIELD', `a request comes in at most ${PART_COUNT_MAX} parts`);
      }
    }
    if (call.cancelled) throw new PeerGone();
    return await open(service, parts);
  } finally {
    ledger.release(bytes);
  }
}

async function open(service: Service, parts: readonly Buffer[]): Promise<OpenRunResponse> {
  try {
    return await service.openings.open(parts, (opening, order) => attach(service, opening, order));
  } catch (error) {
    if (error instanceof ShadowkeepError) {
      service.life.warn('trainer refused', { why: error.reason, problem: error.message });
    }
    throw error;
  }
}

async function attach(service: Service, { spec, trainer }: OpenRun, knownOrder: Uint32Array | undefined) {
  await inTurns(service.table.prepare(spec));
  service.checkServing();
  const { run, created, order = knownOrder } = service.table.open(spec);
  const generation = await attachTrainer(service, run, trainer, () => {
    if (spec.retain !== undefined) run.retain = spec.retain;
  });
  if (created) service.log.info({ run: spec.name, ...run.memory }, 'run created');
  const answer = {
    run: spec.name,
    generation,
    created,
    ...stepFields(run.committedStep, service.activity(run).durableStep),
    limits: {
      chunk_bytes: chunkBytesFor(run.writerCount, service.transport),
      chunk_bytes_max: CHUNK_BYTES_MAX,
      step_timeout_ms: service.options.stepTimeoutMs,
      reconnect_grace_ms: service.options.reconnectGraceMs,
    },
    ...(run.answeredStep === undefined ? {} : { answered_step: run.answeredStep }),
    step_bytes: run.stepBytes,
    first_step_bytes: run.firstStepBytes,
    writers: run.writerCount,
    retained_steps: run.retainedSteps,
    ...(run.firstGeneration === undefined ? {} : { first_generation: run.firstGeneration }),
    tensor_order: order === undefined ? [] : [...order],
  } satisfies OpenRunResponse;
  return { run, order, answer };
}

/**
 * Bytes of chunks that all writers of a run together have under way. The garbage collector copies messages that have
 * half arrived, and large chunks of many writers make it collect the whole heap, so each writer gets a share of this, a
 * power of two.
 */
const CHUNK_BYTES_UNDER_WAY = 4 * CHUNK_BYTES;
const CHUNK_BYTES_MIN = 128 * 1024;

/**
 * Bytes of data that a writer is told to send in each chunk; with very many writers the transport's room limits them.
 */
function chunkBytesFor(writerCount: number, transport: Transport): number {
  const share = powerOfTwoWithin(CHUNK_BYTES_UNDER_WAY / writerCount, CHUNK_BYTES_MIN);
  const streams = Math.max(writerCount, transport.senderCount);
  return Math.min(CHUNK_BYTES, share, transport.writeChunkBytes(streams));
}
