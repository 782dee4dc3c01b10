import { type GetRunRequest__Output, type Run, validateRunName } from '../../wire/index.js';
import { runMessage } from '../run-message.js';
import type { Service } from '../service.js';

/** State, sizes and rates of one run, with its tensors. */
export async function getRun(service: Service, request: GetRunRequest__Output): Promise<Run> {
  return runMessage(service, service.table.get(validateRunName(request)), true);
}
