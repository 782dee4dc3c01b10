import { type GetRunRequest__Output, type Run, validateGetRun } from '../../wire/index.js';
import { runMessage } from '../run-message.js';
import type { Service } from '../service.js';

/** State, sizes and rates of one run, with as many of its tensors as one answer has. */
export async function getRun(service: Service, request: GetRunRequest__Output): Promise<Run> {
  const { run, firstTensor } = validateGetRun(request);
  return runMessage(service, service.table.get(run), firstTensor);
}
