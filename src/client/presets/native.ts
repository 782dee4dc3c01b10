import { SIGMA_REL_MAX } from '../../common/index.js';
import {
  type AverageOptions,
  averageAnnealedMomentum,
  averageCosine,
  averageEma,
  averageExponentialRamp,
  averageHalfLife,
  averageHalfLifeFraction,
  averageHalfLifeRampUp,
  averageInversePower,
  averageMean,
  averagePowerFunction,
  averageRatioWarmup,
} from '../averages/index.js';
import { count, fraction, notNegative, optional, positive, REQUIRED, truth, type ValuesOf, word } from './option.js';
import { definePreset, type Expansion, type Preset } from './preset.js';

/** The proto's fields that every schedule takes. `every_offset` is compared with `every` when they are expanded. */
const FIELDS = {
  start: word(['ZEROS', 'INITIAL', 'FIRST'], 'FIRST'),
  delay_updates: count(0, 0),
  delay_mode: word(['COPY_UNTIL', 'HOLD_UNTIL', 'COPY_EACH_UNTIL'], 'COPY_UNTIL'),
  every: count(1, 1),
  every_offset: count(0, 0),
  decay_unit: word(['PER_UPDATE', 'PER_STEP'], 'PER_UPDATE'),
  first_index: count(0, 0),
  index_unit: word(['UPDATES', 'PUSHES'], 'UPDATES'),
};

/** Only a constant decay has a bias that can be corrected. */
const CORRECTABLE = { ...FIELDS, bias_correction: truth(false) };

type Fields = ValuesOf<typeof FIELDS> & { bias_correction?: boolean };

function common({ options, refuse }: Expansion<Fields>): AverageOptions {
  const { start, every, every_offset: everyOffset, bias_correction: biasCorrection } = options;
  if (everyOffset >= every) throw refuse('every_offset', `below every (${every})`);
  return {
    start,
    delayUpdates: options.delay_updates,
    delayMode: options.delay_mode,
    every,
    everyOffset,
    decayUnit: options.decay_unit,
    firstIndex: options.first_index,
    indexUnit: options.index_unit,
    biasCorrection,
  };
}

/** Our own schedules, with the proto's names. */
export const SCHEDULES: readonly Preset[] = [
  definePreset({
    name: 'constant',
    rule: 'w = 1 - decay',
    options: { decay: fraction(REQUIRED), ...CORRECTABLE },
    expand: (expansion) => {
      const { decay, bias_correction: isCorrected } = expansion.options;
      if (isCorrected && decay === 1) throw expansion.refuse('decay', 'below 1 with bias_correction');
      return averageEma(expansion.name, { ...common(expansion), decay });
    },
  }),
  definePreset({
    name: 'mean',
    rule: 'w_k = 1 / k',
    options: FIELDS,
    expand: (expansion) => averageMean(expansion.name, common(expansion)),
  }),
  definePreset({
    name: 'half-life',
    rule: 'w = 1 - 2^(-1 / updates)',
    options: { updates: positive(REQUIRED), ...CORRECTABLE },
    expand: (expansion) =>
      averageHalfLife(expansion.name, { ...common(expansion), halfLife: expansion.options.updates }),
  }),
  definePreset({
    name: 'ratio-warmup',
    rule: 'decay_n = max(decay_min, min(decay, (1 + n) / (10 + n)))',
    options: { decay: fraction(REQUIRED), decay_min: fraction(0), ...FIELDS },
    expand: (expansion) => {
      const { decay, decay_min: decayMin } = expansion.options;
      if (decayMin > decay) throw expansion.refuse('decay_min', `at most decay (${decay})`);
      return averageRatioWarmup(expansion.name, { ...common(expansion), decay, decayMin });
    },
  }),
  definePreset({
    name: 'inverse-power',
    rule: 'decay_n = clamp(1 - (1 + n / inv_gamma)^-power, decay_min, decay_max)',
    options: {
      inv_gamma: positive(1),
      power: positive(2 / 3),
      decay_min: fraction(0),
      decay_max: fraction(1),
      ...FIELDS,
    },
    expand: (expansion) => {
      const { inv_gamma: invGamma, power, decay_min: decayMin, decay_max: decayMax } = expansion.options;
      if (decayMin > decayMax) throw expansion.refuse('decay_min', `at most decay_max (${decayMax})`);
      return averageInversePower(expansion.name, { ...common(expansion), invGamma, power, decayMin, decayMax });
    },
  }),
  definePreset({
    name: 'exponential-ramp',
    rule: 'decay_n = decay * (1 - exp(-n / tau))',
    options: { decay: fraction(REQUIRED), tau: positive(REQUIRED), ...FIELDS },
    expand: (expansion) => {
      const { decay, tau } = expansion.options;
      return averageExponentialRamp(expansion.name, { ...common(expansion), decay, tau });
    },
  }),
  definePreset({
    name: 'half-life-fraction',
    rule: 'decay_n = 2^(-1 / (fraction * n))',
    options: { fraction: positive(0.05), ...FIELDS },
    expand: (expansion) =>
      averageHalfLifeFraction(expansion.name, { ...common(expansion), fraction: expansion.options.fraction }),
  }),
  definePreset({
    name: 'annealed-momentum',
    rule: 'w_n = max(momentum, gamma / (gamma + n))',
    options: { momentum: fraction(REQUIRED), gamma: positive(REQUIRED), ...FIELDS },
    expand: (expansion) => {
      const { momentum, gamma } = expansion.options;
      return averageAnnealedMomentum(expansion.name, { ...common(expansion), momentum, gamma });
    },
  }),
  definePreset({
    name: 'cosine',
    rule: 'decay_n = 1 - (1 - decay) * (cos(pi n / steps) + 1) / 2',
    options: { decay: fraction(REQUIRED), steps: count(1, REQUIRED), ...FIELDS },
    expand: (expansion) => {
      const { decay, steps } = expansion.options;
      return averageCosine(expansion.name, { ...common(expansion), decay, steps });
    },
  }),
  definePreset({
    name: 'power-function',
    rule: 'w = 1 - (1 - delta / t)^(gamma + 1), by exponent or relative width',
    options: {
      gamma: optional(notNegative(REQUIRED)),
      sigma_rel: optional(positive(REQUIRED, SIGMA_REL_MAX)),
      ...FIELDS,
    },
    expand: (expansion) => {
      const { gamma, sigma_rel: sigmaRel } = expansion.options;
      if (gamma !== null && sigmaRel !== null) throw expansion.refuse('sigma_rel', 'left out where gamma is given');
      if (gamma !== null) return averagePowerFunction(expansion.name, { ...common(expansion), gamma });
      if (sigmaRel === null) throw expansion.refuse('sigma_rel', 'given where gamma is not');
      return averagePowerFunction(expansion.name, { ...common(expansion), sigmaRel });
    },
  }),
  definePreset({
    name: 'half-life-ramp-up',
    rule: 'w = 1 - 2^(-delta / min(half_life, ratio * t)); half_life 0: without bound',
    options: { half_life: notNegative(0), ratio: positive(0.09), ...FIELDS },
    expand: (expansion) => {
      const { half_life: halfLife, ratio } = expansion.options;
      return averageHalfLifeRampUp(expansion.name, { ...common(expansion), halfLife, ratio });
    },
  }),
];
