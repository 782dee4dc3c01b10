// F16 and BF16 in lanes of 32 bits.
//
//         sign  exponent  mantissa  bias
//   F64    1     11        52       1023
//   F32    1      8        23        127
//   BF16   1      8         7        127   the upper half of an F32
//   F16    1      5        10         15

const F32_SIGN: i32 = 0x80000000;
const F32_INFINITY: i32 = 0x7f800000;
/** What an exponent field gains on the way from F16 to F32: 127 − 15. */
const REBIAS: i32 = 112 << 23;
/** 2^-14, the least normal F16, as an F32. */
const F16_NORMAL_MIN: i32 = 113 << 23;

/** i32x4 of BF16 codes → f32x4, exact. */
// @ts-ignore: decorator
@inline
export function widenBf16(codes: v128): v128 {
  return i32x4.shl(codes, 16);
}

/** i32x4 of F16 codes → f32x4, exact. */
// @ts-ignore: decorator
@inline
export function widenF16(codes: v128): v128 {
  const sign = i32x4.shl(v128.and(codes, i32x4.splat(0x8000)), 16);
  const magnitude = v128.and(codes, i32x4.splat(0x7fff));
  const isSpecial = i32x4.gt_s(magnitude, i32x4.splat(0x7bff));
  const isSubnormal = i32x4.lt_s(magnitude, i32x4.splat(0x0400));
  // ∞ and NaN gain the exponent's distance twice: from 31 to 255.
  const rebias = i32x4.add(i32x4.splat(REBIAS), v128.and(isSpecial, i32x4.splat(REBIAS)));
  const normal = i32x4.add(i32x4.shl(magnitude, 13), rebias);
  // A subnormal counts units of 2^-24.
  const subnormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(5.9604644775390625e-8));
  return v128.or(sign, v128.bitselect(subnormal, normal, isSubnormal));
}

/** f32x4 → i32x4 of BF16 codes, to nearest even. */
// @ts-ignore: decorator
@inline
export function narrowToBf16(value: v128): v128 {
  const kept = i32x4.shr_u(value, 16);
  const isOdd = v128.and(kept, i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(value, i32x4.add(isOdd, i32x4.splat(0x7fff))), 16);
  const quietNan = v128.or(kept, i32x4.splat(0x0040));
  return v128.bitselect(quietNan, rounded, f32x4.ne(value, value));
}

/** f32x4 → i32x4 of F16 codes, to nearest even. */
// @ts-ignore: decorator
@inline
export function narrowToF16(value: v128): v128 {
  const magnitude = v128.andnot(value, i32x4.splat(F32_SIGN));
  const sign = i32x4.shr_u(v128.and(value, i32x4.splat(F32_SIGN)), 16);
  // A carry out of the mantissa raises the exponent, as it should; from 65,520 on the result is ∞.
  const isOdd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const rounded = i32x4.add(magnitude, i32x4.add(isOdd, i32x4.splat(0x0fff - REBIAS)));
  const normal = i32x4.min_s(i32x4.shr_u(rounded, 13), i32x4.splat(0x7c00));
  // 0.5 has an ulp of 2^-24, the unit of subnormals: the addition rounds, the difference of the bits is the code.
  const half = f32x4.splat(0.5);
  const subnormal = i32x4.sub(f32x4.add(magnitude, half), half);
  const isSubnormal = i32x4.lt_s(magnitude, i32x4.splat(F16_NORMAL_MIN));
  const number = v128.bitselect(subnormal, normal, isSubnormal);
  const isNan = i32x4.gt_s(magnitude, i32x4.splat(F32_INFINITY));
  return v128.or(sign, v128.bitselect(i32x4.splat(0x7e00), number, isNan));
}

/**
 * f64x2 → f32x4 (two upper lanes 0), rounded to odd: of the two neighbours of an inexact value the one with the odd
 * mantissa. A value that was cut this way still knows on which side of a tie it lies, so that narrowing it further
 * to BF16 or F16 rounds once, as if from F64.
 */
// @ts-ignore: decorator
@inline
export function narrowToOdd(value: v128): v128 {
  const nearest = f32x4.demote_f64x2_zero(value);
  const back = f64x2.abs(f64x2.promote_low_f32x4(nearest));
  const exact = f64x2.abs(value);
  // −1 where the nearest is too large, +1 where it is too small, 0 where it is exact or NaN.
  const away = i64x2.sub(f64x2.gt(back, exact), f64x2.lt(back, exact));
  const step = v128.shuffle<i32>(away, i32x4.splat(0), 0, 2, 4, 4);
  const isEven = i32x4.sub(v128.and(nearest, i32x4.splat(1)), i32x4.splat(1));
  return i32x4.add(nearest, v128.and(step, isEven));
}
