import { assertNever } from '../../common/index.js';
import { annealedMomentumWeight } from './annealed-momentum.js';
import { biasCorrectedWeight } from './bias-correction.js';
import { constantWeight } from './constant.js';
import { cosineWeight } from './cosine.js';
import { exponentialRampWeight } from './exponential-ramp.js';
import { halfLifeWeight } from './half-life.js';
import { halfLifeFractionWeight } from './half-life-fraction.js';
import { halfLifeRampUpWeight } from './half-life-ramp-up.js';
import { inversePowerWeight } from './inverse-power.js';
import { meanWeight } from './mean.js';
import { powerFunctionWeight } from './power-function.js';
import { ratioWarmupWeight } from './ratio-warmup.js';
import type { Moment, Schedule } from './spec.js';

/** w of `shadow += w (θ − shadow)`, 0 to 1: a pure function, so that a few counters are all the state a resume needs. */
export function weightAt(schedule: Schedule, biasCorrection: boolean, moment: Moment): number {
  if (biasCorrection) return biasCorrectedWeight(logDecayOf(schedule), moment);
  switch (schedule.kind) {
    case 'constant':
      return constantWeight(schedule.decay, moment);
    case 'mean':
      return meanWeight(moment);
    case 'half_life':
      return halfLifeWeight(schedule.updates, moment);
    case 'ratio_warmup':
      return ratioWarmupWeight(schedule.decay, schedule.decayMin, moment);
    case 'inverse_power':
      return inversePowerWeight(schedule, moment);
    case 'exponential_ramp':
      return exponentialRampWeight(schedule.decay, schedule.tau, moment);
    case 'half_life_fraction':
      return halfLifeFractionWeight(schedule.fraction, moment);
    case 'annealed_momentum':
      return annealedMomentumWeight(schedule.momentum, schedule.gamma, moment);
    case 'cosine':
      return cosineWeight(schedule.decay, schedule.steps, moment);
    case 'power_function':
      return powerFunctionWeight(schedule.gamma, moment);
    case 'half_life_ramp_up':
      return halfLifeRampUpWeight(schedule.halfLife, schedule.ratio, moment);
    default:
      return assertNever(schedule);
  }
}

/** Only constant decays can be corrected: the others forget their start by themselves, or have no closed form. */
function logDecayOf(schedule: Schedule): number {
  if (schedule.kind === 'constant') return Math.log(schedule.decay);
  if (schedule.kind === 'half_life') return -Math.LN2 / schedule.updates;
  throw new Error(`broken invariant: a ${schedule.kind} with bias correction was accepted`);
}
