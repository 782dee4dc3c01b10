import { chooseTensors } from '../../engine/index.js';
import type { AddAverageRequest__Output, AddAverageResponse } from '../../protocol/index.js';
import { inTurns } from '../loop/in-slices.js';
import { checkAddition, validateAddAverage } from '../messages/index.js';
import type { Service } from '../service.js';

/**
 * Adds an average to a run that is under way. The average starts with the next step and knows nothing of earlier ones.
 */
export async function addAverage(service: Service, request: AddAverageRequest__Output): Promise<AddAverageResponse> {
  service.checkServing();
  const { run: name, average } = validateAddAverage(request);
  const run = service.table.get(name);
  // Matching the patterns may take a while, so it is done before `whenSettled`, which keeps folds from beginning.
  await inTurns(chooseTensors(run.layout.tensors, [average]));
  const step = await run.whenSettled(() => {
    if (run.isDeleted) throw run.deletedError();
    checkAddition(run, average);
    run.addAverage(average);
    return run.committedStep;
  });
  service.log.info({ run: name, average: average.name, step }, 'average added');
  return step === undefined ? {} : { added_at_step: step };
}
