import type { DType, FloatDType, Precision } from '../common/index.js';
import type { Average } from '../wire/index.js';

/** What is done with a tensor at each commit; see `Policy` in proto/shadowkeep/v1/types.proto. */
export type TensorPolicy = 'AVERAGE' | 'COPY' | 'COPY_ONCE' | 'IGNORE';

/** A tensor of a run. */
export interface TensorSpec {
  /** 1 to 512 bytes of UTF-8, unique in the run. */
  name: string;
  /** The dtype of its bytes, unless the run is opened with another `wireDtype`. */
  dtype: DType;
  /** Extents, outermost first; a scalar has none. */
  shape: readonly number[];
  /** Default: AVERAGE for F16, BF16, F32 and F64, COPY for the others. */
  policy?: TensorPolicy | undefined;
}

/** A rule that the run's weights are folded with: made by `averageEma` and its kind, or the proto's `Average` itself. */
export type AverageSpec = Readonly<Average>;

export interface OpenRunOptions {
  /** `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$` without `..`. */
  run: string;
  /** The layout, in the order in which the tensors travel. */
  tensors: readonly TensorSpec[];
  /** 1 to 16. */
  averages: readonly AverageSpec[];
  /**
   * Policies by name pattern (`*` matches any run of characters) for the tensors without one of their own; the last
   * pattern that matches wins, one that matches nothing is refused.
   */
  policies?: Readonly<Record<string, TensorPolicy>> | undefined;
  /** What is done with infinities and NaN in averaged tensors. Default REJECT_STEP. */
  nonFinite?: NonFinitePolicy | undefined;
  /** Keeps snapshots of the power-function averages, for reads of any `sigmaRel` or `gamma`. Default: none. */
  snapshots?: SnapshotOptions | undefined;
  /** The dtype in which averaged tensors travel: their views then hold elements of it. Default: each tensor's own. */
  wireDtype?: FloatDType | undefined;
  /**
   * Names this life of the trainer: a new id fences every older one, so that a process that was thought dead changes
   * nothing. Default: none, nobody is fenced, and a writer that is still connected is an error (WRITER_BUSY).
   */
  incarnation?: string | undefined;
}

/** ACCEPT folds them, REJECT_STEP acknowledges the step and changes nothing, SKIP_TENSOR keeps those tensors' shadows. */
export type NonFinitePolicy = 'ACCEPT' | 'REJECT_STEP' | 'SKIP_TENSOR';

/** See `Snapshots` in proto/shadowkeep/v1/types.proto. */
export interface SnapshotOptions {
  /** Cadence in the trainer's steps; it doubles whenever `countMax` is reached, and every second snapshot goes. */
  everySteps: number;
  /** Of each average; of all together at most 256. */
  countMax: number;
  /** Of all together. Default: what the server's memory budget leaves. */
  bytesMax?: number | undefined;
  /** Default F32. */
  dtype?: FloatDType | undefined;
}

/** The bytes of a step by tensor name: little-endian, row-major, packed, as many as dtype and shape say. */
export type TensorBytes = ReadonlyMap<string, ArrayBufferView> | Readonly<Record<string, ArrayBufferView>>;

/**
 * Reads one tensor's bytes in pieces, for steps that are larger than memory. Pieces may have any length; each is left
 * unchanged once it is given.
 */
export type TensorReader = (tensor: TensorSpec) => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** What became of a step. */
export interface Ack {
  step: number;
  /**
   * COMMITTED: folded or assigned. ALREADY_COMMITTED: the run has this step or a later one; nothing was folded. SKIPPED: as
   * the trainer said. REJECTED: it is not finite, `detail` says where, and the run is as it was.
   */
  state: 'COMMITTED' | 'ALREADY_COMMITTED' | 'SKIPPED' | 'REJECTED' | 'DROPPED';
  /** What was not finite in the step; undefined: nothing. */
  detail: string | undefined;
  /** The newest step that readers can see. */
  committedStep: number | undefined;
  /** The newest step that a crash cannot take back. */
  durableStep: number | undefined;
}

/** A step on its way. Awaiting it waits for the service's acknowledgement. */
export interface PendingStep extends Promise<Ack> {
  /** Resolves when the step's bytes have been read: only then may the caller change its tensors. */
  readonly sent: Promise<void>;
}

export interface ReadOptions {
  run: string;
  /** Required when the run has several averages. */
  average?: string | undefined;
  /**
   * The weights that a power-function average of this relative width would have, or of this exponent `gamma`: the best
   * combination of the run's snapshots and averages. Then `average` is left out, and `step` is that of a snapshot.
   */
  sigmaRel?: number | undefined;
  gamma?: number | undefined;
  /** Exactly this step, while the service holds it. Not together with `minStep`. */
  step?: number | undefined;
  /** The newest version once it is at or past this step. */
  minStep?: number | undefined;
  /** How long the service waits for the step, or for the first commit, milliseconds, at most one hour. Default 0. */
  waitMs?: number | undefined;
  /** Tensor names, in which `*` matches any run of characters. Default: all. */
  names?: readonly string[] | undefined;
  /** Averaged tensors are cast to it, rounded once. Default: the shadow's precision. */
  dtype?: FloatDType | undefined;
  /** Ends the read early. */
  signal?: AbortSignal | undefined;
}

/** A tensor as it is served. */
export interface ShadowTensor {
  name: string;
  dtype: DType;
  shape: readonly number[];
  /** False: copied as it was pushed. */
  averaged: boolean;
  /** Where its bytes start in the byte space: a multiple of 64. */
  offset: number;
  /** Its length, without the gap after it. */
  bytes: number;
}

/** The one version that a read gives. */
export interface ShadowHeader {
  run: string;
  average: string;
  step: number;
  /** Updates folded into the average. */
  numUpdates: number;
  generation: number;
  /** w of the last folded update; 1: assigned. */
  weight: number;
  version: number;
  durableStep: number | undefined;
  /** How the last folded update moved the average; undefined before it. */
  movement: Movement | undefined;
  /** The parts of a combination; their weights sum to 1. Otherwise empty. */
  contributions: readonly Contribution[];
  /** Distance of a combination's profile from the one asked for, relative to that one's norm. */
  fitError: number | undefined;
  /** Length of the byte space, gaps included. */
  totalBytes: number;
  tensors: readonly ShadowTensor[];
}

/** Measured on a sample of the elements during a fold. */
export interface Movement {
  /** ‖p − s‖ / ‖s‖ of the weights that came and the shadow before; undefined when that is no number. */
  distanceRel: number | undefined;
  /** Of the elements that are not zero, the share that changed: near 0 the average has stopped moving. */
  changedShare: number;
}

/** One part of a combination: a snapshot, or an average as it is. */
export interface Contribution {
  average: string;
  step: number;
  gamma: number;
  weight: number;
}

/** A piece of one tensor: `begin` counts bytes from the tensor's start. */
export interface ShadowPiece {
  tensor: ShadowTensor;
  begin: number;
  data: Uint8Array;
}

/** A read under way. Exactly one of `chunks` and `pieces` is iterated, once; leaving the loop early ends the read. */
export interface ShadowRead {
  header: ShadowHeader;
  /** The byte space, in order and without gaps. */
  chunks: AsyncIterable<{ offset: number; data: Uint8Array }>;
  /** The same by tensor, in order, without the gaps between tensors: what a file holds. */
  pieces: AsyncIterable<ShadowPiece>;
  /** Ends the read, iterated or not. */
  cancel(): void;
}

/** Weights in memory. `data` are views of one buffer, each at a multiple of 64 bytes. */
export interface Shadow extends Omit<ShadowHeader, 'tensors'> {
  tensors: Map<string, { dtype: DType; shape: readonly number[]; averaged: boolean; data: Uint8Array }>;
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
  /** Old pages that readers still hold. */
  pinnedBytes: number;
  /** Free inside the run's arenas. */
  freeBytes: number;
  snapshotBytes: number;
  /** The server's budget and what is left of it. */
  budgetBytes: number;
  budgetFreeBytes: number;
}

/** State, sizes and rates of a run. */
export interface RunInfo {
  run: string;
  generation: number;
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
}

export type { DType, FloatDType, Precision };
