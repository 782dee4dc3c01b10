import type { Precision, SCHEDULES, ScheduleKind } from '../../common/index.js';

/** The content of a shadow before its first folded update: zeros, the initial push, or the weights that come first. */
export type Start = 'ZEROS' | 'INITIAL' | 'FIRST';

type ParametersOf<Kind extends ScheduleKind> = {
  readonly [Name in keyof (typeof SCHEDULES)[Kind]['parameters']]: number;
};

/** A schedule of the table with its parameters. The formula of each is in the file named after it. */
export type Schedule = {
  [Kind in ScheduleKind]: { readonly kind: Kind } & ParametersOf<Kind>;
}[ScheduleKind];

/** A named rule of a run, complete and checked. The fields are those of the proto's Average, which explains them. */
export interface AverageSpec {
  readonly name: string;
  readonly schedule: Schedule;
  readonly start: Start;
  /** The dtype of the shadow and of its arithmetic. */
  readonly precision: Precision;
  readonly delayUpdates: number;
  readonly delayMode: 'COPY_UNTIL' | 'HOLD_UNTIL' | 'COPY_EACH_UNTIL';
  /** The pushes i = 1, 2 … with i mod every = everyOffset touch the shadow, the others do not. */
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
  /** The preset from which the average was made, for people to read. */
  readonly preset: string;
}

/** The moment in the life of an average at which it folds. */
export interface Moment {
  /** Index of the schedule: `firstIndex` at the first folded update. */
  readonly n: number;
  /** Updates that this fold stands for: 1, or the trainer's steps since the last one. */
  readonly elapsed: number;
  /** Updates, or the trainer's steps, that all folds so far stand for, this one included. */
  readonly time: number;
}
