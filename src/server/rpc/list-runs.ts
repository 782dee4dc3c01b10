import type { ListRunsRequest__Output, ListRunsResponse } from '../../wire/index.js';
import { runMessage } from '../run-message.js';
import type { Service } from '../service.js';

/** All runs in the order of their names, without their tensors. */
export async function listRuns(service: Service, _request: ListRunsRequest__Output): Promise<ListRunsResponse> {
  return { runs: service.table.list().map((run) => runMessage(service, run, false)) };
}
