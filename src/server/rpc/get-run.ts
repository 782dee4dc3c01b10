import type { GetRunRequest__Output, Run } from '../../protocol/index.js';
import { validateGetRun } from '../messages/index.js';
import { runMessage } from '../run-message.js';
import type { Service } from '../service.js';

/** Answers the state, sizes and rates of one run, with as many of its tensors as fit in one answer. */
export async function getRun(service: Service, request: GetRunRequest__Output): Promise<Run> {
  const { run, firstTensor } = validateGetRun(request);
  return runMessage(service, service.table.get(run), firstTensor);
}

/** Most tensors in an answer that claims no room of the transport: a tensor takes at most about 1 KiB of it. */
const SMALL_TENSOR_COUNT = 16;

export function isLargeRun({ table }: Service, { run }: GetRunRequest__Output): boolean {
  return (table.find(run)?.spec.tensors.length ?? 0) > SMALL_TENSOR_COUNT;
}
