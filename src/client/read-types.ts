import type { DType, FloatDType } from '../common/index.js';
import type { Movement } from './run-types.js';
import type { BoxSpec, ReconnectOptions } from './types.js';

export interface ReadOptions {
  run: string;
  /** The name of the average to read. Required when the run has several averages. */
  average?: string | undefined;
  /**
   * Reads the weights that a power-function average of this relative width would have: the best combination of the
   * run's snapshots and averages. `average` must be left out, and `step`, if given, must be the step of a snapshot.
   */
  sigmaRel?: number | undefined;
  /** The same by the exponent of the power function. Not together with `sigmaRel`. */
  gamma?: number | undefined;
  /** Reads exactly this step, if the service still holds it. Not together with `minStep`. */
  step?: number | undefined;
  /** Reads the newest version, once its step is this one or a later one. */
  minStep?: number | undefined;
  /**
   * How long the service waits for the run and for the step or the first commit, milliseconds. Default 0, at most one
   * hour.
   */
  waitMs?: number | undefined;
  /** Names of the tensors to read, in which `*` matches any run of characters. Default: all tensors. */
  names?: readonly string[] | undefined;
  /**
   * Parts of tensors to read, in this order; a part may come twice. Not together with `names`. Default: whole tensors.
   */
  boxes?: readonly BoxSpec[] | undefined;
  /** The dtype that averaged tensors are cast to, with one rounding. Default: the shadow's precision. */
  dtype?: FloatDType | undefined;
  /**
   * What to do when the connection breaks. A read that has its header goes on where it was, in the same version; a read
   * that has none begins again. `false` makes the read fail instead. Default: try for a minute, or, before the header,
   * for the client's `serviceWaitMs`.
   */
  reconnect?: ReconnectOptions | false | undefined;
  /** Ends the read when it is aborted. */
  signal?: AbortSignal | undefined;
}

/** A tensor of a read, or the part of a tensor that the read asked for. */
export interface ShadowTensor {
  name: string;
  dtype: DType;
  /** The shape of the tensor or of the part. */
  shape: readonly number[];
  /** Where the part begins in the tensor, per dimension; zeros for a whole tensor. */
  boxOffset: readonly number[];
  /** The shape of the whole tensor. */
  globalShape: readonly number[];
  /** Whether the tensor is averaged; false when it is a copy of what was pushed. */
  averaged: boolean;
  /** Where the tensor's bytes start in the byte space of the read: a multiple of 64. */
  offset: number;
  /** Length of the tensor, bytes, without the gap after it. */
  bytes: number;
}

/** Describes what a read sends: one version of one average, or a combination of averages. */
export interface ShadowHeader {
  run: string;
  average: string;
  step: number;
  /** Number of updates that were folded into the average. */
  numUpdates: number;
  generation: number;
  /** The weight w of the last folded update; 1 means that the update was assigned. */
  weight: number;
  version: number;
  durableStep: number | undefined;
  /** How the last folded update moved the average; undefined before the first one. */
  movement: Movement | undefined;
  /** What a combination is made of, with weights that sum to 1; empty for a read of one average. */
  contributions: readonly Contribution[];
  /** Distance of a combination's profile from the requested one, relative to the norm of the requested one. */
  fitError: number | undefined;
  /** Length of the byte space of the read, with the gaps between tensors. */
  totalBytes: number;
  tensors: readonly ShadowTensor[];
}

/** One part of a combination: a snapshot of an average, or an average as it is now. */
export interface Contribution {
  average: string;
  step: number;
  gamma: number;
  weight: number;
}

/** A piece of one tensor. It begins at byte `begin` of the tensor. */
export interface ShadowPiece {
  tensor: ShadowTensor;
  begin: number;
  data: Uint8Array;
}

/** A read under way. Iterate either `chunks` or `pieces`, and only once. Leaving the loop early ends the read. */
export interface ShadowRead {
  header: ShadowHeader;
  /** The byte space of the read, in order; every byte comes, also the zeros between tensors. */
  chunks: AsyncIterable<{ offset: number; data: Uint8Array }>;
  /** The bytes of the tensors, in order, without the zeros between tensors, as a file holds them. */
  pieces: AsyncIterable<ShadowPiece>;
  /** Ends the read, whether it is being iterated or not. */
  cancel(): void;
}

/** One tensor in memory, or a part of a tensor. */
export interface ShadowPart extends Omit<ShadowTensor, 'offset' | 'bytes'> {
  data: Uint8Array;
}

/** Weights in memory. The `data` of all tensors are views of one buffer, each at a multiple of 64 bytes. */
export interface Shadow extends Omit<ShadowHeader, 'tensors'> {
  /** The tensors by name. A tensor that was read in several boxes is only in `parts`. */
  tensors: Map<string, ShadowPart>;
  /** All that was read: in the order of `boxes` if the read had boxes, otherwise in the order of the layout. */
  parts: readonly ShadowPart[];
}
