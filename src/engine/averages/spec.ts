import type { Precision } from '../../common/index.js';

/** What a shadow is before its first folded update: zeros, the initial push, or whatever comes first. */
export type Start = 'ZEROS' | 'INITIAL' | 'FIRST';

/** The formula of each is in the file named after it. */
export type Schedule =
  | { readonly kind: 'constant'; readonly decay: number }
  | { readonly kind: 'mean' }
  | { readonly kind: 'half_life'; readonly updates: number }
  | { readonly kind: 'ratio_warmup'; readonly decay: number; readonly decayMin: number }
  | {
      readonly kind: 'inverse_power';
      readonly invGamma: number;
      readonly power: number;
      readonly decayMin: number;
      readonly decayMax: number;
    }
  | { readonly kind: 'exponential_ramp'; readonly decay: number; readonly tau: number }
  | { readonly kind: 'half_life_fraction'; readonly fraction: number }
  | { readonly kind: 'annealed_momentum'; readonly momentum: number; readonly gamma: number }
  | { readonly kind: 'cosine'; readonly decay: number; readonly steps: number }
  | { readonly kind: 'power_function'; readonly gamma: number }
  | { readonly kind: 'half_life_ramp_up'; readonly halfLife: number; readonly ratio: number };

/** A named rule of a run, complete and checked. The fields are those of the proto's Average, which explains them. */
export interface AverageSpec {
  readonly name: string;
  readonly schedule: Schedule;
  readonly start: Start;
  /** The dtype of the shadow and of its arithmetic. */
  readonly precision: Precision;
  readonly delayUpdates: number;
  readonly delayMode: 'COPY_UNTIL' | 'HOLD_UNTIL' | 'COPY_EACH_UNTIL';
  /** Of the pushes i = 1, 2 … those with i mod every = everyOffset touch the shadow. */
  readonly every: number;
  readonly everyOffset: number;
  readonly decayUnit: 'PER_UPDATE' | 'PER_STEP';
  /** n of the first folded update. */
  readonly firstIndex: number;
  readonly indexUnit: 'UPDATES' | 'PUSHES';
  readonly biasCorrection: boolean;
  /** Name patterns of the tensors that it averages; no `include`: all. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** What it was expanded from, for people to read. */
  readonly preset: string;
}

/** A rule with every field that can be left out: the first update is copied, each one counts. */
export const AVERAGE_DEFAULTS = {
  start: 'FIRST',
  precision: 'F32',
  delayUpdates: 0,
  delayMode: 'COPY_UNTIL',
  every: 1,
  everyOffset: 0,
  decayUnit: 'PER_UPDATE',
  firstIndex: 0,
  indexUnit: 'UPDATES',
  biasCorrection: false,
  include: [],
  exclude: [],
  preset: '',
} as const satisfies Omit<AverageSpec, 'name' | 'schedule'>;

/** Where in its life an average is when it folds. */
export interface Moment {
  /** Index of the schedule: `firstIndex` at the first folded update. */
  readonly n: number;
  /** Updates that this fold stands for: 1, or the trainer's steps since the last one. */
  readonly elapsed: number;
  /** The same, of all folds so far, this one included. */
  readonly time: number;
}
