import type { FloatDType, Precision } from '../common/index.js';

/**
 * What the kernels are, whichever build runs them. All addresses are byte addresses in one WebAssembly.Memory and may
 * be odd; the caller has proved that the ranges lie inside it. Counts are in elements, any count from 0.
 *
 * Every operation is rounded to nearest even in the shadow's precision, in one fixed order, so that the SIMD build, the
 * scalar build and a replay give the same bits (any NaN counts as the same NaN).
 */
export interface Kernels {
  /** Keyed by the shadow's precision, then by the dtype of the source. */
  readonly lerp: Readonly<Record<Precision, Readonly<Record<FloatDType, LerpKernel>>>>;
  /** Keyed by the dtype it reads, then by the dtype it writes. */
  readonly cast: Readonly<Record<FloatDType, Readonly<Record<FloatDType, CastKernel>>>>;
  /** Keyed as lerp. */
  readonly measure: Readonly<Record<Precision, Readonly<Record<FloatDType, MeasureKernel>>>>;
  /** Keyed by the dtype of the source, as accumulate. */
  readonly finite: Readonly<Record<FloatDType, FiniteKernel>>;
  readonly accumulate: Readonly<Record<FloatDType, AccumulateKernel>>;
  /** Keyed by the bytes of a unit. */
  readonly digest: Readonly<Record<UnitBytes, DigestKernel>>;
}

/**
 * dst[i] = base[i] + weight * (θ[i] − base[i]): the source is converted to the precision first (θ, one rounding, exact
 * when widening), then d = θ − base, p = weight * d, dst = base + p are rounded each. Where θ equals base, d is 0: equal
 * infinities stay, as they do in β·base + (1 − β)·θ. `weight` is rounded to the precision by the caller or the kernel,
 * whichever is first; the result is the same. `dst` may equal `base`, or `src` where that is of the precision; otherwise
 * the ranges of dst, base and src do not overlap.
 */
export type LerpKernel = (dst: number, base: number, src: number, count: number, weight: number) => void;

/** dst[i] = src[i], rounded once, to nearest even; NaN stays NaN, overflow becomes ∞. Ranges do not overlap. */
export type CastKernel = (dst: number, src: number, count: number) => void;

/**
 * What a lerp with the same operands does, as four F64 at `out`:
 *
 *   0  Σ (θ[i] − base[i])²   even i and odd i summed apart, then together; 0 where they are equal
 *   8  Σ base[i]²            in the same order, over finite base[i]
 *  16  how many i have another value after the lerp
 *  24  how many i have base[i] ≠ 0 or θ[i] ≠ 0
 *
 * θ is in the shadow's precision, the sums are of F64. For a sample: it is slower than the lerp.
 */
export type MeasureKernel = (out: number, base: number, src: number, count: number, weight: number) => void;

/** 1 when no src[i] is infinite or NaN, else 0. */
export type FiniteKernel = (src: number, count: number) => number;

/** sums[i] += weight * src[i] in F64: product and sum are rounded each. Ranges do not overlap. */
export type AccumulateKernel = (sums: number, src: number, count: number, weight: number) => void;

/** Widths of the units that a digest reads; eight bytes are two units of four. */
export const UNIT_BYTES = [1, 2, 4] as const;
export type UnitBytes = (typeof UNIT_BYTES)[number];

/**
 * Sums of `count` units x[0] … at `src`, unsigned and little-endian, as two F64 at `out`:
 *
 *   0  Σ y[j] modulo 2^32              y = x ^ (x >>> 16), which is x for units of 1 and 2 bytes
 *   8  Σ (count − j) y[j] modulo 2^32
 *
 * The second is the sum of the first after each unit. Integers modulo 2^32 add up to the same in any order.
 */
export type DigestKernel = (out: number, src: number, count: number) => void;

/** `simd` is the WebAssembly build, `scalar` the TypeScript reference: its oracle, and the way out without SIMD. */
export type KernelMode = 'simd' | 'scalar';
