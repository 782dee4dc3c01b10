import { SIGMA_REL_MAX } from '../../common/index.js';
import { averageHalfLife, averageHalfLifeRampUp, averagePowerFunction } from '../averages/index.js';
import { count, listOf, optional, positive, REQUIRED } from './option.js';
import { definePreset } from './preset.js';

const IMAGES_PER_MIMG = 1e6;

/**
 * EDM2's PowerFunctionEMA or, when one of its options is given, TraditionalEMA. TraditionalEMA counts images, which
 * batch_size turns into the trainer's steps.
 */
export const edm2 = definePreset({
  name: 'edm2',
  peer: 'edm2 training.phema.PowerFunctionEMA, or TraditionalEMA with batch_size',
  buffers: 'copy',
  rule: 'one power function per std, start FIRST; or half-life with ramp-up, start INITIAL; per step',
  options: {
    stds: listOf(positive(REQUIRED, SIGMA_REL_MAX), [0.05, 0.1]),
    halflife_Mimg: positive(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
    rampup_ratio: { ...optional(positive(REQUIRED)), fallback: 0.09 },
    batch_size: optional(count(1, REQUIRED)),
  },
  expand: ({ name, options, given, refuse }) => {
    const { stds, halflife_Mimg: halfLifeMimg, rampup_ratio: ratio, batch_size: batchSize } = options;
    const decayUnit = 'PER_STEP';
    if (!['halflife_Mimg', 'rampup_ratio', 'batch_size'].some((option) => given.has(option))) {
      const nameOf = (std: number) => (stds.length === 1 ? name : `${name}-${std}`);
      return stds.map((sigmaRel) => averagePowerFunction(nameOf(sigmaRel), { sigmaRel, start: 'FIRST', decayUnit }));
    }
    if (given.has('stds')) throw refuse('stds', 'left out with halflife_Mimg, rampup_ratio or batch_size');
    if (batchSize === null) throw refuse('batch_size', 'given, to turn images into steps');
    const isBounded = Number.isFinite(halfLifeMimg);
    const halfLife = isBounded ? (halfLifeMimg * IMAGES_PER_MIMG) / batchSize : 0;
    const common = { start: 'INITIAL', decayUnit, halfLife } as const;
    if (ratio !== null) return averageHalfLifeRampUp(name, { ...common, ratio });
    if (!isBounded) throw refuse('halflife_Mimg', 'finite where rampup_ratio is none: nothing would ever be folded');
    return averageHalfLife(name, common);
  },
});
