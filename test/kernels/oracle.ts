import type { FloatDType, Precision } from '../../src/common/index.js';

// What the kernels should compute, by other means than the kernels and their reference: halves come from a table of
// all their values, narrowing searches that table, and F32 is what typed arrays and Math.fround make of it.

export type HalfDType = 'F16' | 'BF16';

/** Codes of ∞: all the codes below it are finite and not negative, in rising order. */
export const INFINITY_CODE: Readonly<Record<HalfDType, number>> = { F16: 0x7c00, BF16: 0x7f80 };

/** The value of each of the 65,536 codes. */
export const HALF_VALUES: Readonly<Record<HalfDType, Float64Array>> = {
  F16: Float64Array.from({ length: 65_536 }, (_, code) => f16Value(code)),
  BF16: Float64Array.from({ length: 65_536 }, (_, code) => new Float32Array(Uint32Array.of(code * 65_536).buffer)[0]!),
};

/** IEEE 754 binary16: significand and power of two, read off the code written in binary. */
function f16Value(code: number): number {
  const digits = code.toString(2).padStart(16, '0');
  const sign = digits[0] === '1' ? -1 : 1;
  const exponent = Number.parseInt(digits.slice(1, 6), 2);
  const fraction = Number.parseInt(digits.slice(6), 2) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** The code nearest to `value`, of two equally near ones the even one; any NaN is `INFINITY_CODE` + 1. */
export function nearestCode(value: number, dtype: HalfDType): number {
  const infinityCode = INFINITY_CODE[dtype];
  if (Number.isNaN(value)) return infinityCode + 1;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  let low = 0;
  let high = infinityCode;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (HALF_VALUES[dtype][middle]! <= magnitude) low = middle;
    else high = middle;
  }
  const between = midpointAbove(low, dtype);
  if (magnitude === between) return sign + (low % 2 === 0 ? low : high);
  return sign + (magnitude < between ? low : high);
}

/** Halfway from a finite code to the next; ∞ stands where the next power of two would be. Exact in F32 and F64. */
export function midpointAbove(code: number, dtype: HalfDType): number {
  const values = HALF_VALUES[dtype];
  const next = code + 1 === INFINITY_CODE[dtype] ? 2 * values[code]! - values[code - 1]! : values[code + 1]!;
  return values[code]! / 2 + next / 2;
}

/** `value` as the nearest value of `dtype`. */
export function rounded(value: number, dtype: FloatDType): number {
  if (dtype === 'F64') return value;
  return dtype === 'F32' ? Math.fround(value) : HALF_VALUES[dtype][nearestCode(value, dtype)]!;
}

/** One element of a lerp. Equal infinities stay: β·∞ + (1 − β)·∞ is ∞. */
export function lerped(base: number, source: number, weight: number, precision: Precision): number {
  const round = (value: number) => rounded(value, precision);
  if (Math.abs(base) === Number.POSITIVE_INFINITY && round(source) === base) return base;
  const difference = round(round(source) - base);
  const product = round(round(weight) * difference);
  return round(base + product);
}
