import { Classifier } from './classifier.js';
import { CLASS_COUNT, PIXEL_COUNT } from './digits.js';
import { seededRandom } from './random.js';

/** The settings that the three processes of the demo share. */
export interface Setup {
  /** HOST:PORT of the service. */
  readonly target: string;
  readonly steps: number;
  /** Determines the split, the first weights and the order of the batches. */
  readonly seed: number;
}

export const RUN_NAME = 'digits-demo';
export const AVERAGE_NAME = 'ema';
/** The average looks back over about 1 / (1 − decay) = 100 steps. */
export const DECAY = 0.99;

/** Default number of steps: seconds of training on one core, and enough for both curves to become flat. */
export const STEPS_DEFAULT = 600;
/** Least number of steps: twice the average's horizon, before which it remembers its random start. */
export const STEPS_MIN = 200;
/** Largest number of steps: minutes of training. The memory of the parent process grows with it. */
export const STEPS_MAX = 20_000;
export const SEED_DEFAULT = 1;
export const SEED_MAX = 2 ** 32 - 1;

export const BATCH_SIZE = 16;
export const MOMENTUM = 0.9;
/** Ten times what suits this network, so that the raw weights have the noise that an average takes away. */
export const LEARNING_RATE = 0.2;

const WIDTHS = [PIXEL_COUNT, 64, CLASS_COUNT];

/** Makes the model with its first weights, which are the same in every process with the same seed. */
export function createModel(seed: number): Classifier {
  return new Classifier(WIDTHS, seededRandom(seed, 'weights'));
}

/** About how many rows the table has: enough to see the curve, and few enough for one screen. */
const EVALUATION_COUNT = 20;
/** Most steps between two rows. A long training gets more rows, because a silent evaluator is taken to hang. */
const EVALUATION_STEPS_MAX = 100;

/** The number of steps after which the evaluator pulls again. */
export function evaluationEvery(steps: number): number {
  return Math.min(EVALUATION_STEPS_MAX, Math.round(steps / EVALUATION_COUNT));
}
