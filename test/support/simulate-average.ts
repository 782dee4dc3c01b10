import { toAverageMessage } from '../../src/client/averages/index.js';
import type { AverageSpec as ClientAverage } from '../../src/client/index.js';
import { advanceInitial, advanceUpdate, NO_PROGRESS } from '../../src/engine/averages/index.js';
import type { AverageSpec } from '../../src/engine/index.js';
import { completeOpenRun } from '../../src/protocol/index.js';
import { validateOpenRun } from '../../src/server/messages/index.js';

/** The rules that the service makes of a client's averages: encoded, decoded and checked as a request is. */
export function servedRules(averages: readonly ClientAverage[]): readonly AverageSpec[] {
  // Patterns have to match something.
  const tensors = ['w', 'w.bias'].map((name) => ({ name, dtype: 'F64', shape: [1] }));
  return validateOpenRun(completeOpenRun({ run: 'r', tensors, averages: averages.map(toAverageMessage) })).spec
    .averages;
}

/** The shadow of one number after each update, in float64: an initial push at step 0, then one update at each step. */
export function simulate(average: ClientAverage, initial: number, updates: readonly number[], every = 1): number[] {
  const [rule] = servedRules([average]);
  let { progress, weight } = advanceInitial(rule!, NO_PROGRESS, 0);
  let shadow = weight * initial;
  return updates.map((value, index) => {
    ({ progress, weight } = advanceUpdate(rule!, progress, (index + 1) * every));
    // A fold with weight 1 is an assignment: inf − inf is not.
    shadow = weight === 1 ? value : shadow + weight * (value - shadow);
    return shadow;
  });
}
