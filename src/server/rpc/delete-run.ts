import { type DeleteRunRequest__Output, type DeleteRunResponse, validateRunName } from '../../wire/index.js';
import { collectSoon } from '../collect-soon.js';
import type { Service } from '../service.js';

/** Deletes a run: its streams end, its memory goes back to the system, its files go. */
export async function deleteRun(service: Service, request: DeleteRunRequest__Output): Promise<DeleteRunResponse> {
  service.checkServing();
  const name = validateRunName(request);
  const run = service.table.get(name);
  const freedBytes = service.table.delete(name);
  service.openings.forget(run);
  await service.files?.delete(name);
  collectSoon();
  service.log.info({ run: name, freedBytes }, 'run deleted');
  return { freed_bytes: freedBytes };
}
