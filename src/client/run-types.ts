import type { AverageSpec, NonFinitePolicy, RetainOptions, TensorSpec } from './types.js';

/** Measured on a sample of the elements during a fold. */
export interface Movement {
  /** ‖p − s‖ / ‖s‖ of the weights that came and the shadow before; undefined when that is no number. */
  distanceRel: number | undefined;
  /** The share of the elements that are not zero which changed: near 0 the average has stopped moving. */
  changedShare: number;
}

export interface AverageState {
  name: string;
  numUpdates: number;
  /** w of the last folded update; undefined before it, as is `movement`. */
  weight: number | undefined;
  movement: Movement | undefined;
  /** The committed step at which it was added to the run; undefined: the run was opened with it. */
  addedAtStep: number | undefined;
}

/** A commit, or the state when the watch began. */
export interface RunEvent {
  run: string;
  generation: number;
  /** Undefined before the first commit. */
  committedStep: number | undefined;
  durableStep: number | undefined;
  averages: readonly AverageState[];
}

/** What a run holds of the server's memory budget, bytes. */
export interface RunMemory {
  shadowBytes: number;
  stagingBytes: number;
  /** Old pages that readers still hold, or that retained versions do. */
  pinnedBytes: number;
  /** Free inside the run's arenas. */
  freeBytes: number;
  snapshotBytes: number;
  /** The service's heap for the layout and the averages' patterns themselves. */
  layoutBytes: number;
  /** The server's budget and what is left of it. */
  budgetBytes: number;
  budgetFreeBytes: number;
}

/** State, sizes and rates of a run. */
export interface RunInfo {
  run: string;
  generation: number;
  /** The generation that created the run, which no other run has; undefined: the service did not keep it. */
  firstGeneration: number | undefined;
  committedStep: number | undefined;
  durableStep: number | undefined;
  /** Empty in a listing. */
  tensors: readonly TensorSpec[];
  averages: readonly AverageSpec[];
  states: readonly AverageState[];
  tensorCount: number;
  /** Elements of averaged tensors. */
  averagedElements: number;
  memory: RunMemory;
  /** Processes that push in this generation. */
  writers: number;
  /** Each of them by its number; empty in a listing. */
  writerStates: readonly WriterState[];
  writersConnected: number;
  readersConnected: number;
  /** The step being received and how much of it has arrived, bytes. */
  stagingStep: number | undefined;
  stagingBytes: number;
  /** Since the server started. */
  commits: number;
  bytesReceived: number;
  bytesSent: number;
  /** Over the last minute. */
  commitsPerSecond: number;
  receivedBytesPerSecond: number;
  sinceCommitMs: number | undefined;
  nonFinite: NonFinitePolicy;
  /** Steps in which a value was not finite, since the server started. */
  nonFiniteSteps: number;
  snapshots: readonly { average: string; step: number; bytes: number }[];
  /** Older versions that are kept (undefined: none are), and the steps of those that there are, rising. */
  retain: RetainOptions | undefined;
  retainedSteps: readonly number[];
}

/** How far one writer is. */
export interface WriterState {
  writer: number;
  connected: boolean;
  /** The newest step that it has sent whole; undefined: none in this generation. */
  step: number | undefined;
  /** The step that it is sending, and how much of it has arrived, bytes. */
  receivingStep: number | undefined;
  receivedBytes: number;
  /** Length of its step. */
  stepBytes: number;
  /** Steps that another writer has sent whole and this one has not, and for how long the first of them has waited for it. */
  lagSteps: number;
  lagMs: number;
}

/** A run that is on the service's disk and is not served. */
export interface DamagedRun {
  run: string;
  /** What is wrong with it. */
  problem: string;
}
