import { quote, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec } from './spec.js';

/** Throws AVERAGES_MISMATCH with the first difference between a run's averages and the ones of a request. */
export function checkSameAverages(run: string, ours: readonly AverageSpec[], theirs: readonly AverageSpec[]): void {
  const problem = firstDifference(ours, theirs);
  if (problem === undefined) return;
  throw new ShadowkeepError('AVERAGES_MISMATCH', `run ${quote(run)}: ${problem}`, { metadata: { run } });
}

export function firstDifference(ours: readonly AverageSpec[], theirs: readonly AverageSpec[]): string | undefined {
  for (const [index, our] of ours.entries()) {
    const their = theirs[index];
    if (their === undefined) return `average ${index} ${quote(our.name)} is missing in the request`;
    if (our.name !== their.name) return `average ${index} ${quote(our.name)} is ${quote(their.name)} in the request`;
    for (const field of Object.keys(our) as (keyof AverageSpec)[]) {
      // For people to read: two ways to say the same rule are the same rule.
      if (field === 'preset') continue;
      const [mine, yours] = [JSON.stringify(our[field]), JSON.stringify(their[field])];
      if (mine !== yours) return `average ${quote(our.name)} has ${field} ${mine}, ${yours} in the request`;
    }
  }
  const extra = theirs[ours.length];
  return extra === undefined ? undefined : `average ${ours.length} ${quote(extra.name)} is not in the run`;
}
