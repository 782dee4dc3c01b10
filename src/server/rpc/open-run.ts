import { CHUNK_BYTES, CHUNK_BYTES_MAX } from '../../common/index.js';
import { type OpenRunRequest__Output, type OpenRunResponse, stepFields, validateOpenRun } from '../../wire/index.js';
import type { Service } from '../service.js';

/** Creates a run or attaches to it, and issues a generation. */
export async function openRun(service: Service, request: OpenRunRequest__Output): Promise<OpenRunResponse> {
  service.checkServing();
  const { spec, trainer } = validateOpenRun(request);
  const { run, created } = service.table.open(spec);
  const generation = await run.whenSettled(() => {
    const attached = run.attach(trainer);
    // A trainer that is refused changes nothing.
    if (spec.retain !== undefined) run.retain = spec.retain;
    return attached;
  });
  if (created) service.log.info({ run: spec.name, ...run.memory }, 'run created');
  return {
    run: spec.name,
    generation,
    created,
    ...stepFields(run.committedStep, service.activity(run).durableStep),
    limits: {
      chunk_bytes: chunkBytesFor(run.writerCount),
      chunk_bytes_max: CHUNK_BYTES_MAX,
      step_timeout_ms: service.options.stepTimeoutMs,
      reconnect_grace_ms: service.options.reconnectGraceMs,
    },
    step_bytes: run.stepBytes,
    first_step_bytes: run.firstStepBytes,
    writers: run.writerCount,
    retained_steps: run.retainedSteps,
  };
}

/**
 * Messages that have half arrived are moved by the garbage collector, and what many writers have under way makes it look at
 * everything: so many bytes in all are on their way at a time, in chunks of a power of two.
 */
const CHUNK_BYTES_UNDER_WAY = 4 * CHUNK_BYTES;
const CHUNK_BYTES_MIN = 128 * 1024;

function chunkBytesFor(writerCount: number): number {
  const share = 2 ** Math.floor(Math.log2(CHUNK_BYTES_UNDER_WAY / writerCount));
  return Math.min(CHUNK_BYTES, Math.max(CHUNK_BYTES_MIN, share));
}
