import { quote, ShadowkeepError } from '../../common/index.js';
import { type Advance, advanceInitial, advanceUpdate } from '../averages/index.js';
import type { Version } from '../versions/version.js';

/** Returns how an initial push of `step` advances each average of `head`. Throws INITIAL_TOO_LATE. */
export function advanceAllInitial(run: string, head: Version, step: number): Advance[] {
  if (head.step !== undefined) {
    throw new ShadowkeepError(
      'INITIAL_TOO_LATE',
      `initial push of step ${step}: run ${quote(run)} has committed step ${head.step}`,
      { metadata: { step, committedStep: head.step } },
    );
  }
  return head.shadows.map(({ spec, state }) => advanceInitial(spec, state, step));
}

/**
 * Returns how an update of `step` advances each average of `head`. Throws INITIAL_REQUIRED when an average lacks its
 * initial weights.
 */
export function advanceAll(run: string, head: Version, step: number): Advance[] {
  return head.shadows.map(({ spec, state }) => {
    if (spec.start === 'INITIAL' && state.weight === undefined) {
      throw new ShadowkeepError(
        'INITIAL_REQUIRED',
        `average ${quote(spec.name)} starts from INITIAL: push the initial weights of run ${quote(run)} first, or start it from FIRST`,
        { metadata: { average: spec.name } },
      );
    }
    return advanceUpdate(spec, state, step);
  });
}
