import type { DType, FloatDType } from '../common/index.js';
import type { Movement } from './run-types.js';
import type { BoxSpec, ReconnectOptions } from './types.js';

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
  /** How long the service waits for the run, and for the step or the first commit, milliseconds, at most one hour. Default 0. */
  waitMs?: number | undefined;
  /** Tensor names, in which `*` matches any run of characters. Default: all. */
  names?: readonly string[] | undefined;
  /** Parts of tensors, in this order and as often as they are named. Not together with `names`. Default: whole tensors. */
  boxes?: readonly BoxSpec[] | undefined;
  /** Averaged tensors are cast to it, rounded once. Default: the shadow's precision. */
  dtype?: FloatDType | undefined;
  /**
   * What is done when the connection breaks: a read that has its header goes on where it was, in the same version, and one
   * that has none begins again. `false`: it fails. Default: come back, for a minute; before the header as the client says.
   */
  reconnect?: ReconnectOptions | false | undefined;
  /** Ends the read early. */
  signal?: AbortSignal | undefined;
}

/** A tensor as it is served, or the part of it that was asked for. */
export interface ShadowTensor {
  name: string;
  dtype: DType;
  /** The shape of the part. */
  shape: readonly number[];
  /** Where the part begins in the tensor, and the tensor's shape; of a whole one, zeros and `shape`. */
  boxOffset: readonly number[];
  globalShape: readonly number[];
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
  /** The bytes by tensor, in order, without the gaps between tensors: what a file holds. */
  pieces: AsyncIterable<ShadowPiece>;
  /** Ends the read, iterated or not. */
  cancel(): void;
}

/** One tensor in memory, or a part of it. */
export interface ShadowPart extends Omit<ShadowTensor, 'offset' | 'bytes'> {
  data: Uint8Array;
}

/** Weights in memory. `data` are views of one buffer, each at a multiple of 64 bytes. */
export interface Shadow extends Omit<ShadowHeader, 'tensors'> {
  /** By name. A tensor that was read in several boxes is not in it. */
  tensors: Map<string, ShadowPart>;
  /** All that was read: in the order of `boxes` where the read had some, otherwise in the order of the layout. */
  parts: readonly ShadowPart[];
}
