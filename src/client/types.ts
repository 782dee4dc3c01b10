import type { DType, FloatDType, Precision } from '../common/index.js';
import type { AverageSpec } from './averages/index.js';

/** What each commit does with a tensor. `Policy` in proto/shadowkeep/v1/types.proto explains each one. */
export type TensorPolicy = 'AVERAGE' | 'COPY' | 'COPY_ONCE' | 'IGNORE';

/** A tensor of a run. */
export interface TensorSpec {
  /** 1 to 512 bytes of UTF-8, unique in the run. */
  name: string;
  /** The dtype of the tensor. Its bytes travel in it, unless the run is opened with another `wireDtype`. */
  dtype: DType;
  /** The extents, outermost dimension first; empty for a scalar. */
  shape: readonly number[];
  /** Default: AVERAGE for F16, BF16, F32 and F64, COPY for the others. */
  policy?: TensorPolicy | undefined;
}

export type { AverageSpec };

export interface OpenRunOptions {
  /** `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$` without `..`. */
  run: string;
  /** The layout, in the order in which the tensors travel. */
  tensors: readonly TensorSpec[];
  /** 1 to 16 averages. */
  averages: readonly AverageSpec[];
  /**
   * Policies by name pattern (`*` matches any run of characters), for tensors without a policy of their own. The last
   * pattern that matches wins. A pattern that matches nothing is refused.
   */
  policies?: Readonly<Record<string, TensorPolicy>> | undefined;
  /** What to do with infinities and NaN in averaged tensors. Default REJECT_STEP. */
  nonFinite?: NonFinitePolicy | undefined;
  /** Keeps snapshots of the power-function averages, for reads of any `sigmaRel` or `gamma`. Default: none. */
  snapshots?: SnapshotOptions | undefined;
  /** The dtype in which averaged tensors travel, and so the dtype of their views. Default: each tensor's own. */
  wireDtype?: FloatDType | undefined;
  /**
   * An id for this life of the trainer. A new id fences every older one, so that a process that was thought dead can
   * change nothing. All writers of one trainer must name the same id. Default: none; then nobody is fenced, and opening
   * fails while the writer is still connected (WRITER_BUSY).
   */
  incarnation?: string | undefined;
  /** Number of processes (or handles) that push each step together, 1 to 1,024. Default 1. */
  writers?: number | undefined;
  /** The number of this writer, from 0 to `writers` − 1. Default 0. */
  writer?: number | undefined;
  /**
   * The parts of tensors that this writer sends, in the order in which they travel. The boxes of all writers together
   * must tile every tensor. Default: the whole layout for a single writer, nothing for one of several.
   */
  boxes?: readonly BoxSpec[] | undefined;
  /** Rewinds the run to the newest retained version at or before this step. Needs a new `incarnation`. */
  resumeStep?: number | undefined;
  /**
   * The step of the checkpoint that the trainer has restored; 0 for a new training. A run that has committed another
   * step refuses to open: RUN_HAS_COMMITS, TRAINER_BEHIND, RUN_BEHIND. Default: go on from whatever step the run has.
   */
  trainerStep?: number | undefined;
  /**
   * Keeps older versions, for `resumeStep` and for reads of exact steps. Default: as the run does; a new run keeps
   * none.
   */
  retain?: RetainOptions | undefined;
  /**
   * What to do when the connection breaks or the service is not up. `false` ends the handle at the first break.
   * Default: try for a minute, or, before the run is opened, for the client's `serviceWaitMs`.
   */
  reconnect?: ReconnectOptions | false | undefined;
}

/** A rectangle of a tensor, whose bytes travel row-major. Without `offset` and `extent` it is the whole tensor. */
export interface BoxSpec {
  /** Name of the tensor. */
  tensor: string;
  /** Where the box begins, per dimension. */
  offset?: readonly number[] | undefined;
  /** The size of the box, per dimension. A box with an extent of 0 is empty, which is legal. */
  extent?: readonly number[] | undefined;
  /**
   * Writers that hold the same box name the same group, above 0, and the service decides which of them sends it. Reads
   * must not have a group.
   */
  replicaGroup?: number | undefined;
}

/** Which older versions of a run are kept; `Retention` in proto/shadowkeep/v1/types.proto explains more. */
export interface RetainOptions {
  /** Only versions whose step is a multiple of this are kept. */
  everySteps: number;
  /** How many of these versions are kept, the newest, 1 to 64. */
  countMax: number;
}

export interface ReconnectOptions {
  /** How long the connection may be away before the last failure is reported, milliseconds. Default 60,000. */
  deadlineMs?: number | undefined;
}

/**
 * What to do with infinities and NaN. ACCEPT folds them (an infinity folded into the same infinity stays). REJECT_STEP
 * acknowledges the step and changes nothing. SKIP_TENSOR keeps the shadows of tensors that have them; a shadow that
 * does not exist yet begins with them.
 */
export type NonFinitePolicy = 'ACCEPT' | 'REJECT_STEP' | 'SKIP_TENSOR';

/**
 * Which snapshots of power-function averages are kept; `Snapshots` in proto/shadowkeep/v1/types.proto explains more.
 */
export interface SnapshotOptions {
  /**
   * Number of the trainer's steps between two snapshots. Whenever `countMax` is reached it doubles, and every second
   * snapshot is dropped.
   */
  everySteps: number;
  /** Most snapshots of each average. All averages together have at most 256. */
  countMax: number;
  /** Most bytes of all snapshots together. Default: what the server's memory budget leaves. */
  bytesMax?: number | undefined;
  /** The dtype of the snapshots. Default F32. */
  dtype?: FloatDType | undefined;
}

/** The bytes of a step by tensor name: little-endian, row-major, without gaps, as many as dtype and shape say. */
export type TensorBytes = ReadonlyMap<string, ArrayBufferView> | Readonly<Record<string, ArrayBufferView>>;

/**
 * The bytes of a step by box, with one entry for each declared box, in the declared order, row-major within the box.
 * The entry of a box may be undefined when the box is empty, another writer sends it, or it is sent no more
 * (COPY_ONCE).
 */
export type BoxBytes = readonly (ArrayBufferView | undefined)[];

/** A part of a step: a whole tensor, or one of the writer's boxes. */
export interface StepPart extends TensorSpec {
  /** Index into the declared boxes; undefined for a writer without boxes. */
  boxIndex: number | undefined;
  /** Where the part begins in the tensor. `shape` has the extents of the part, and `dtype` is that of its bytes. */
  boxOffset: readonly number[];
  /** The shape of the whole tensor. */
  globalShape: readonly number[];
  /** Length of the part, bytes, without the gap after it. */
  bytes: number;
}

/**
 * A function that reads the bytes of one part in pieces, for steps that are larger than memory. Pieces may have any
 * length, and a piece must not be changed once it is given. The function is called again for a part of which the
 * connection has lost bytes.
 */
export type TensorReader = (part: StepPart) => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** The service's acknowledgement of a step: what became of it. */
export interface Ack {
  step: number;
  /**
   * COMMITTED: the step was folded or assigned. ALREADY_COMMITTED: the run has this step or a later one, and nothing
   * was folded. SKIPPED: the trainer has skipped the step. REJECTED: the step has a value that is not finite, `detail`
   * says where, and the run is as it was. DROPPED: another writer's part of the step did not come in time or was lost,
   * and the step counts as never sent.
   */
  state: 'COMMITTED' | 'ALREADY_COMMITTED' | 'SKIPPED' | 'REJECTED' | 'DROPPED';
  /** What was not finite in the step, or which writer has lost it; undefined otherwise. */
  detail: string | undefined;
  /** The newest step that readers can see. */
  committedStep: number | undefined;
  /** The newest step that a crash cannot take back. */
  durableStep: number | undefined;
}

/** A step on its way. It resolves with the service's acknowledgement. Its tensors must not be changed before. */
export interface PendingStep extends Promise<Ack> {
  /**
   * Resolves when the step's bytes have been read. A caller that waits for it may change the tensors then, before the
   * acknowledgement. In return the step fails (UNAVAILABLE) when the connection breaks in between and has lost bytes. A
   * step whose `sent` nobody has read is sent again from its tensors instead.
   */
  readonly sent: Promise<void>;
}

export type { DType, FloatDType, Precision };
