import type { DType, FloatDType, Precision } from '../common/index.js';
import type { AverageSpec } from './averages/index.js';

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

export type { AverageSpec };

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
   * nothing. Default: none, nobody is fenced, and a writer that is still connected is an error (WRITER_BUSY). All writers
   * of one trainer name the same.
   */
  incarnation?: string | undefined;
  /** Number of processes (or handles) that push each step together, 1 to 1,024. Default 1. */
  writers?: number | undefined;
  /** Which of them this one is, from 0. Default 0. */
  writer?: number | undefined;
  /**
   * What this writer sends, in the order of its steps; together the writers' boxes tile every tensor. Default: the whole
   * layout where there is one writer, nothing where there are several.
   */
  boxes?: readonly BoxSpec[] | undefined;
  /** Rewinds the run to the newest retained version at or below this step; needs a new `incarnation`. */
  resumeStep?: number | undefined;
  /**
   * The step of the checkpoint that the trainer has restored, 0 when it begins. A run that has committed another one
   * refuses it: RUN_HAS_COMMITS, TRAINER_BEHIND, RUN_BEHIND. Default: go on in whatever the run has.
   */
  trainerStep?: number | undefined;
  /** Keeps older versions, for `resumeStep` and for reads of exact steps. Default: none, or what the run has. */
  retain?: RetainOptions | undefined;
  /**
   * What is done when the connection breaks, or the service is not up yet. `false`: it is the end of the handle. Default:
   * come back, for a minute; before the run is opened as the client says.
   */
  reconnect?: ReconnectOptions | false | undefined;
}

/** A rectangle of a tensor, row-major. Without `offset` and `extent`: the whole tensor. */
export interface BoxSpec {
  /** Name of the tensor. */
  tensor: string;
  /** One per dimension. An extent of 0 is legal: the box is empty. */
  offset?: readonly number[] | undefined;
  extent?: readonly number[] | undefined;
  /** Writers that hold the same box name the same group, not 0; the service says which of them sends. Only of writers. */
  replicaGroup?: number | undefined;
}

/** See `Retention` in proto/shadowkeep/v1/types.proto. */
export interface RetainOptions {
  /** Kept: the versions whose step is a multiple of it. */
  everySteps: number;
  /** The newest so many of them, 1 to 64. */
  countMax: number;
}

export interface ReconnectOptions {
  /** How long the connection may be away before the last failure is raised, milliseconds. Default 60,000. */
  deadlineMs?: number | undefined;
}

/**
 * What is done with infinities and NaN. ACCEPT folds them (equal infinities stay), REJECT_STEP acknowledges the step and
 * changes nothing, SKIP_TENSOR keeps those tensors' shadows; a shadow that does not exist yet begins with them.
 */
export type NonFinitePolicy = 'ACCEPT' | 'REJECT_STEP' | 'SKIP_TENSOR';

/** See `Snapshots` in proto/shadowkeep/v1/types.proto. */
export interface SnapshotOptions {
  /** Cadence in the trainer's steps; it doubles whenever `countMax` is reached, and every second snapshot goes. */
  everySteps: number;
  /** Snapshots of each average; at most 256 of all together. */
  countMax: number;
  /** Bytes of all snapshots together. Default: what the server's memory budget leaves. */
  bytesMax?: number | undefined;
  /** Default F32. */
  dtype?: FloatDType | undefined;
}

/** The bytes of a step by tensor name: little-endian, row-major, packed, as many as dtype and shape say. */
export type TensorBytes = ReadonlyMap<string, ArrayBufferView> | Readonly<Record<string, ArrayBufferView>>;

/**
 * The bytes of a step by box, one entry for each declared one and in their order, row-major within the box. Those of boxes
 * that are empty, that another writer sends or that are sent no more (COPY_ONCE) may be undefined.
 */
export type BoxBytes = readonly (ArrayBufferView | undefined)[];

/** What travels of one tensor: all of it, or one of the writer's boxes. */
export interface StepPart extends TensorSpec {
  /** Index into the declared boxes; undefined without boxes. */
  boxIndex: number | undefined;
  /** Where it lies in the tensor: `shape` has its own extents, `dtype` is that of its bytes. */
  boxOffset: readonly number[];
  globalShape: readonly number[];
  /** Its length, without the gap after it. */
  bytes: number;
}

/**
 * Reads one part's bytes in pieces, for steps that are larger than memory. Pieces may have any length; each is left
 * unchanged once it is given. Called again for a part of which the connection has lost bytes; not for empty parts.
 */
export type TensorReader = (part: StepPart) => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** What became of a step. */
export interface Ack {
  step: number;
  /**
   * COMMITTED: folded or assigned. ALREADY_COMMITTED: the run has this step or a later one; nothing was folded. SKIPPED: as
   * the trainer said. REJECTED: it is not finite, `detail` says where, and the run is as it was. DROPPED: another writer's
   * part of it did not come in time or was lost, and it is as if nobody had sent it.
   */
  state: 'COMMITTED' | 'ALREADY_COMMITTED' | 'SKIPPED' | 'REJECTED' | 'DROPPED';
  /** What was not finite in the step, or who has lost it; undefined: nothing and nobody. */
  detail: string | undefined;
  /** The newest step that readers can see. */
  committedStep: number | undefined;
  /** The newest step that a crash cannot take back. */
  durableStep: number | undefined;
}

/** A step on its way. Awaiting it waits for the service's acknowledgement; until then its tensors stay unchanged. */
export interface PendingStep extends Promise<Ack> {
  /**
   * Resolves when the step's bytes have been read. Who asks for it may change the tensors then, before the acknowledgement,
   * but a connection that breaks in between may have lost bytes that nobody has any more: then the step fails
   * (UNAVAILABLE). Where nobody asks, such a step is sent again from its tensors.
   */
  readonly sent: Promise<void>;
}

export type { DType, FloatDType, Precision };
