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
}

/**
 * dst[i] = base[i] + weight * (θ[i] − base[i]): the source is converted to the precision first (θ, one rounding, exact
 * when widening), then d = θ − base, p = weight * d, dst = base + p are rounded each. `weight` is rounded to the
 * precision by the caller or the kernel, whichever is first; the result is the same. `dst` may equal `base`; otherwise
 * the ranges of dst, base and src do not overlap.
 */
export type LerpKernel = (dst: number, base: number, src: number, count: number, weight: number) => void;

/** dst[i] = src[i], rounded once, to nearest even; NaN stays NaN, overflow becomes ∞. Ranges do not overlap. */
export type CastKernel = (dst: number, src: number, count: number) => void;

/** `simd` is the WebAssembly build, `scalar` the TypeScript reference: its oracle, and the way out without SIMD. */
export type KernelMode = 'simd' | 'scalar';
