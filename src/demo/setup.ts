import { Classifier } from './classifier.js';
import { CLASS_COUNT, PIXEL_COUNT } from './digits.js';
import { seededRandom } from './random.js';

/** What the three processes of the demo agree on. */
export interface Setup {
  /** HOST:PORT of the service. */
  readonly target: string;
  readonly steps: number;
  /** Names the split, the first weights and the order of the batches. */
  readonly seed: number;
}

export const RUN_NAME = 'digits-demo';
export const AVERAGE_NAME = 'ema';
/** The average looks back over about 1 / (1 − decay) = 100 steps. */
export const DECAY = 0.99;

/** Seconds of training on one core, and late enough for both curves to be flat. */
export const STEPS_DEFAULT = 600;
/** Two times the average's horizon: before that it still remembers the random weights that it started from. */
export const STEPS_MIN = 200;
/** Minutes of training; what the parent process keeps grows with it. */
export const STEPS_MAX = 20_000;
export const SEED_DEFAULT = 1;
export const SEED_MAX = 2 ** 32 - 1;

export const BATCH_SIZE = 16;
export const MOMENTUM = 0.9;
/** Ten times what this network wants, so that the raw weights jump around: the noise that an average takes away. */
export const LEARNING_RATE = 0.2;

const WIDTHS = [PIXEL_COUNT, 64, CLASS_COUNT];

/** Makes the first weights, which are the same in every process that names the same seed. */
export function createModel(seed: number): Classifier {
  return new Classifier(WIDTHS, seededRandom(seed, 'weights'));
}

/** Rows of the table: enough to see the curve, few enough for one screen. */
const EVALUATION_COUNT = 20;
/** A long training gets more rows: an evaluator that says nothing for long is taken for one that hangs. */
const EVALUATION_STEPS_MAX = 100;

/** The evaluator pulls about each N-th step. */
export function evaluationEvery(steps: number): number {
  return Math.min(EVALUATION_STEPS_MAX, Math.round(steps / EVALUATION_COUNT));
}
