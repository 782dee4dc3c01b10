import type { AverageSpec, NonFinitePolicy, RetainOptions, TensorSpec } from './types.js';

/** How a fold moved an average, measured on a sample of its elements. */
export interface Movement {
  /** ‖p − s‖ / ‖s‖ of the pushed weights p and the shadow s before the fold; undefined when it is no finite number. */
  distanceRel: number | undefined;
  /** The share of the nonzero elements that the fold changed. Near 0 the average has stopped moving. */
  changedShare: number;
}

export interface AverageState {
  name: string;
  numUpdates: number;
  /** The weight w of the last folded update. `weight` and `movement` are undefined before the first one. */
  weight: number | undefined;
  movement: Movement | undefined;
  /** The committed step at which the average was added; undefined when the run was opened with it. */
  addedAtStep: number | undefined;
}

/** A commit of a run, or the state of the run when the watch began. */
export interface RunEvent {
  run: string;
  generation: number;
  /** The newest committed step; undefined before the first commit. */
  committedStep: number | undefined;
  durableStep: number | undefined;
  averages: readonly AverageState[];
}

/** What a run holds of the server's memory budget, bytes. */
export interface RunMemory {
  shadowBytes: number;
  stagingBytes: number;
  /** Pages of older versions that readers or retained versions still hold. */
  pinnedBytes: number;
  /** Free inside the run's arenas. */
  freeBytes: number;
  snapshotBytes: number;
  /** The service's memory for the layout itself and for the patterns of the averages. */
  layoutBytes: number;
  /** The budget of the whole server. */
  budgetBytes: number;
  /** What is left of the server's budget. */
  budgetFreeBytes: number;
}

/** The state, sizes and rates of a run. */
export interface RunInfo {
  run: string;
  generation: number;
  /** The generation that created the run, which no other run has; undefined when the service does not know it. */
  firstGeneration: number | undefined;
  committedStep: number | undefined;
  durableStep: number | undefined;
  /** The tensors of the run; empty in a listing. */
  tensors: readonly TensorSpec[];
  averages: readonly AverageSpec[];
  states: readonly AverageState[];
  tensorCount: number;
  /** Number of elements of all averaged tensors. */
  averagedElements: number;
  memory: RunMemory;
  /** Number of writers that push in this generation. */
  writers: number;
  /** The state of each writer, in the order of their numbers; empty in a listing. */
  writerStates: readonly WriterState[];
  writersConnected: number;
  readersConnected: number;
  /** The step that is being received. */
  stagingStep: number | undefined;
  /** How much of `stagingStep` has arrived, bytes. */
  stagingBytes: number;
  /** Commits since the server started, as are the two numbers of bytes. */
  commits: number;
  bytesReceived: number;
  bytesSent: number;
  /** Rates over the last minute. */
  commitsPerSecond: number;
  receivedBytesPerSecond: number;
  sinceCommitMs: number | undefined;
  nonFinite: NonFinitePolicy;
  /** Number of steps with a value that was not finite, since the server started. */
  nonFiniteSteps: number;
  snapshots: readonly { average: string; step: number; bytes: number }[];
  /** Which older versions are kept; undefined when none are. */
  retain: RetainOptions | undefined;
  /** The steps of the older versions that are kept now, rising. */
  retainedSteps: readonly number[];
}

/** How far one writer of a run is. */
export interface WriterState {
  writer: number;
  connected: boolean;
  /** The newest step that the writer has sent whole; undefined when there is none in this generation. */
  step: number | undefined;
  /** The step that the writer is sending. */
  receivingStep: number | undefined;
  /** How much of `receivingStep` has arrived, bytes. */
  receivedBytes: number;
  /** Length of the writer's part of a step, bytes. */
  stepBytes: number;
  /** Number of steps that another writer has sent whole and this one has not. */
  lagSteps: number;
  /** How long the oldest of these steps has waited for this writer, milliseconds. */
  lagMs: number;
}

/** A run on the service's disk that could not be loaded and is not served. */
export interface DamagedRun {
  run: string;
  /** What is wrong with the run's files. */
  problem: string;
}
