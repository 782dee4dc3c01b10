import { CHUNK_BYTES, CHUNK_BYTES_MAX } from '../../common/index.js';
import { type OpenRunRequest__Output, type OpenRunResponse, stepFields, validateOpenRun } from '../../wire/index.js';
import type { Service } from '../service.js';

/** Creates a run or attaches to it, and issues a generation. */
export async function openRun(service: Service, request: OpenRunRequest__Output): Promise<OpenRunResponse> {
  service.checkServing();
  const { spec, incarnation } = validateOpenRun(request);
  const { run, created } = service.table.open(spec);
  const generation = await run.whenSettled(() => run.attach(incarnation));
  if (created) service.log.info({ run: spec.name, ...run.memory }, 'run created');
  return {
    run: spec.name,
    generation,
    created,
    ...stepFields(run.committedStep, service.activity(run).durableStep),
    limits: {
      chunk_bytes: CHUNK_BYTES,
      chunk_bytes_max: CHUNK_BYTES_MAX,
      step_timeout_ms: service.options.stepTimeoutMs,
    },
    step_bytes: run.stepBytes,
    first_step_bytes: run.firstStepBytes,
  };
}
