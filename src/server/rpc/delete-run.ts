import type { DeleteRunRequest__Output, DeleteRunResponse } from '../../protocol/index.js';
import { collectSoon } from '../loop/collect-soon.js';
import { validateRunName } from '../messages/index.js';
import type { Service } from '../service.js';

/**
 * Deletes a run: removes its files, ends its streams and gives its memory back to the system. The files are deleted
 * first, so that the run goes on as it was when the disk refuses.
 */
export async function deleteRun(service: Service, request: DeleteRunRequest__Output): Promise<DeleteRunResponse> {
  service.checkServing();
  const name = validateRunName(request);
  service.table.checkDeletable(name);
  await service.files?.delete(service, name);
  const run = service.table.find(name);
  const freedBytes = service.table.delete(name);
  if (run !== undefined) service.openings.forget(run);
  collectSoon();
  service.log.info({ run: name, freedBytes }, 'run deleted');
  return { freed_bytes: freedBytes };
}
