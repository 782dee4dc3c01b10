import { quote, ShadowkeepError } from '../../common/index.js';
import type { RemoveAverageRequest__Output, RemoveAverageResponse } from '../../protocol/index.js';
import { validateRunName } from '../messages/index.js';
import type { Service } from '../service.js';

/** Removes an average. Its memory becomes free for the run's other pages, once no reader holds it any more. */
export async function removeAverage(
  service: Service,
  request: RemoveAverageRequest__Output,
): Promise<RemoveAverageResponse> {
  service.checkServing();
  const run = service.table.get(validateRunName(request));
  const { average } = request;
  await run.whenSettled(() => {
    if (run.isDeleted) throw run.deletedError();
    const names = run.averages.map(({ name }) => name);
    const name = quote(run.spec.name);
    if (!names.includes(average)) {
      const present = names.map(quote).join(', ');
      throw new ShadowkeepError('AVERAGE_NOT_FOUND', `run ${name} has no average ${quote(average)}, it has ${present}`);
    }
    if (names.length === 1) {
      throw new ShadowkeepError('LAST_AVERAGE', `${quote(average)} is the only average of run ${name}: delete the run`);
    }
    run.removeAverage(average);
  });
  service.log.info({ run: run.spec.name, average }, 'average removed');
  return {};
}
