import { assertNever, type Precision, quote, ShadowkeepError } from '../../common/index.js';
import { constantWeight } from './constant.js';
import { meanWeight } from './mean.js';

/** What a shadow is before its first folded update: zeros, the initial push, or whatever comes first. */
export type Start = 'ZEROS' | 'INITIAL' | 'FIRST';

export type Schedule = { readonly kind: 'constant'; readonly decay: number } | { readonly kind: 'mean' };

/** A named rule of a run, complete and checked. */
export interface AverageSpec {
  readonly name: string;
  readonly schedule: Schedule;
  readonly start: Start;
  /** The dtype of the shadow and of its arithmetic. */
  readonly precision: Precision;
}

/**
 * w_k of `shadow += w_k (θ_k − shadow)` at the k-th folded update, k = 1, 2 …; a pure function, so that the count of
 * updates is all the state that a resume needs.
 */
export function weightAt(average: AverageSpec, k: number): number {
  if (k === 1 && average.start === 'FIRST') return 1;
  const { schedule } = average;
  switch (schedule.kind) {
    case 'constant':
      return constantWeight(schedule.decay);
    case 'mean':
      return meanWeight(k);
    default:
      return assertNever(schedule);
  }
}

/** Throws AVERAGES_MISMATCH with the first difference between a run's averages and the ones of a request. */
export function checkSameAverages(run: string, ours: readonly AverageSpec[], theirs: readonly AverageSpec[]): void {
  const mismatch = (problem: string): ShadowkeepError => {
    return new ShadowkeepError('AVERAGES_MISMATCH', `run ${quote(run)}: ${problem}`, { metadata: { run } });
  };
  for (const [index, our] of ours.entries()) {
    const their = theirs[index];
    if (their === undefined) throw mismatch(`average ${index} ${quote(our.name)} is missing in the request`);
    if (our.name !== their.name)
      throw mismatch(`average ${index} ${quote(our.name)} is ${quote(their.name)} in the request`);
    for (const field of ['schedule', 'start', 'precision'] as const) {
      const [mine, yours] = [JSON.stringify(our[field]), JSON.stringify(their[field])];
      if (mine !== yours) throw mismatch(`average ${quote(our.name)} has ${field} ${mine}, ${yours} in the request`);
    }
  }
  const extra = theirs[ours.length];
  if (extra !== undefined) throw mismatch(`average ${ours.length} ${quote(extra.name)} is not in the run`);
}
