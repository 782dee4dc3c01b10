import { quote, ShadowkeepError } from '../common/index.js';
import { weightAt } from './averages/index.js';
import type { RunSpec } from './run.js';
import type { AverageState, Version } from './version.js';

/** States after an initial push: shadows are assigned, those that start from ZEROS hold. Throws INITIAL_TOO_LATE. */
export function initialStates({ name, averages }: RunSpec, step: number, head: Version): AverageState[] {
  if (head.step !== undefined) {
    throw new ShadowkeepError(
      'INITIAL_TOO_LATE',
      `initial push of step ${step}: run ${quote(name)} has committed step ${head.step}`,
      { metadata: { step, committedStep: head.step } },
    );
  }
  return averages.map(({ start }) => ({ numUpdates: 0, weight: start === 'ZEROS' ? 0 : 1 }));
}

/** States after the next folded update. Throws INITIAL_REQUIRED when an average still lacks its initial weights. */
export function nextStates({ name, averages }: RunSpec, head: Version): AverageState[] {
  return averages.map((average, index) => {
    if (average.start === 'INITIAL' && head.step === undefined) {
      throw new ShadowkeepError(
        'INITIAL_REQUIRED',
        `average ${quote(average.name)} starts from INITIAL: push the initial weights of run ${quote(name)} first`,
        { metadata: { average: average.name } },
      );
    }
    const numUpdates = (head.states[index]?.numUpdates ?? 0) + 1;
    return { numUpdates, weight: weightAt(average, numUpdates) };
  });
}
