import { DTYPE_BYTES, type DType, type FloatDType } from '../../common/index.js';
import type { UnitBytes } from '../../kernels/index.js';
import { type Arena, SUMS_ADDRESS } from '../memory/arena.js';

/*
 * What the bytes of a step were, in two numbers, to tell a replayed step from one with other content. Each unit x (of 4,
 * 2 or 1 bytes, unsigned) has a position p that its tensor gives it, whoever sends it:
 *
 *   sum = Σ y modulo 2^32        weighted = Σ p y modulo 2^32        y = x ^ (x >>> 16)
 *
 * y is another number for each x; it brings the upper bits of a float down, because sums modulo 2^32 carry upwards only and
 * F32 that was BF16 has nothing below.
 *
 * Both are plain sums over units, so neither the cut of the bytes over writers and chunks nor their order of arrival
 * shows, and a part can be computed where it lies. As in Fletcher's checksum the second sum is what notices an exchange:
 *
 *   one changed unit             always changes `sum`
 *   two at p, q exchanged        changes `weighted`, unless (p − q) times the difference of their y is a multiple of 2^32
 *
 * The rest is chance, 2^-64 for units that vary in all bits. It guards against mistakes, not against an adversary. Units
 * of 0, as in gaps, add nothing.
 */
export interface DigestValue {
  /** Integers from 0 to 2^32 − 1. */
  readonly sum: number;
  readonly weighted: number;
}

/** The digest of a committed step, and the wire dtype of its bytes. */
export interface StepDigest extends DigestValue {
  readonly step: number;
  readonly wireDType: FloatDType | undefined;
}

/** The digest of no units. */
export const EMPTY_DIGEST: DigestValue = { sum: 0, weighted: 0 };

/** The unit, in bytes, as which the elements of a dtype are read: the widest one that no cut between elements divides. */
export function unitBytesOf(dtype: DType): UnitBytes {
  const bytes = DTYPE_BYTES[dtype];
  return bytes === 8 ? 4 : bytes;
}

/** The kernel's sums of a run of units: their weights fall, from the count of the run to 1. */
export interface RunSums {
  readonly sum: number;
  readonly falling: number;
}

/** The sums of `count` units at `src`, which are twice as many as the elements where one has 8 bytes. */
export function sumRun(arena: Arena, unitBytes: UnitBytes, src: number, count: number): RunSums {
  arena.kernels.digest[unitBytes](SUMS_ADDRESS, src, count);
  return { sum: arena.float64(SUMS_ADDRESS), falling: arena.float64(SUMS_ADDRESS + DTYPE_BYTES.F64) };
}

/** Adds a run of `count` units, the first of which has the position `base`, at most 2^50. */
export function addRun(value: DigestValue, run: RunSums, base: number, count: number): DigestValue {
  // base + j = (base + count) − (count − j). Math.imul takes the safe integer base + count modulo 2^32, exactly.
  const weighted = Math.imul(base + count, run.sum) - run.falling;
  return mergeDigests(value, { sum: run.sum, weighted });
}

/** The digest of two sets of units that have none in common. */
export function mergeDigests(a: DigestValue, b: DigestValue): DigestValue {
  return { sum: (a.sum + b.sum) >>> 0, weighted: (a.weighted + b.weighted) >>> 0 };
}

export function sameDigest(a: DigestValue, b: DigestValue): boolean {
  return a.sum === b.sum && a.weighted === b.weighted;
}
