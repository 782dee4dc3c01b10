// F16 and BF16, four at a time, as codes in lanes of 32 bits. All of it is exact or rounds once, to nearest even.
//
//         sign  exponent  mantissa  bias
//   F64    1     11        52       1023
//   F32    1      8        23        127
//   BF16   1      8         7        127   the upper half of an F32
//   F16    1      5        10         15

const F32_SIGN: i32 = 0x80000000;
const F32_INFINITY: i32 = 0x7f800000;
const BF16_QUIET: i32 = 0x0040;
const F16_MAX: i32 = 0x7bff;
const F16_INFINITY: i32 = 0x7c00;
const F16_QUIET_NAN: i32 = 0x7e00;
/** Bits of mantissa that an F32 has more than an F16. */
const F16_SHIFT: i32 = 13;
/** What an exponent gains on the way from F16 to F32: 127 − 15. */
const REBIAS: i32 = 112 << 23;
/** 2^-14, the least normal F16, as an F32. */
const F16_NORMAL_MIN: i32 = 113 << 23;

/** BF16 codes → f32x4; the upper halves of the lanes are ignored. */
// @ts-ignore: decorator
@inline
export function widenBf16(codes: v128): v128 {
  return i32x4.shl(codes, 16);
}

/** F16 codes, sign-extended → f32x4. */
// @ts-ignore: decorator
@inline
export function widenF16(codes: v128): v128 {
  const sign = v128.and(codes, i32x4.splat(F32_SIGN));
  const magnitude = v128.and(i32x4.shl(codes, F16_SHIFT), i32x4.splat(0x7fff << F16_SHIFT));
  // ∞ and NaN gain REBIAS twice: from exponent 31 to 255.
  const isSpecial = i32x4.gt_s(magnitude, i32x4.splat(F16_MAX << F16_SHIFT));
  const special = v128.and(isSpecial, i32x4.splat(REBIAS));
  // A subnormal lacks the leading 1: it is made normal as 2^-14 + value, and the 2^-14 is taken away again, exactly.
  const isSubnormal = i32x4.lt_s(magnitude, i32x4.splat(1 << 23));
  const surplus = v128.and(isSubnormal, i32x4.splat(F16_NORMAL_MIN));
  const rebias = v128.or(i32x4.add(special, i32x4.splat(REBIAS)), surplus);
  return v128.or(sign, f32x4.sub(i32x4.add(magnitude, rebias), surplus));
}

/** f32x4 → BF16 codes. */
// @ts-ignore: decorator
@inline
export function narrowToBf16(value: v128): v128 {
  const kept = i32x4.shr_u(value, 16);
  // A carry out of the mantissa raises the exponent, as it should, at last to ∞.
  const isOdd = v128.and(kept, i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(value, i32x4.add(isOdd, i32x4.splat(0x7fff))), 16);
  const quietNan = v128.or(kept, i32x4.splat(BF16_QUIET));
  return v128.bitselect(quietNan, rounded, f32x4.ne(value, value));
}

/** f32x4 → F16 codes. */
// @ts-ignore: decorator
@inline
export function narrowToF16(value: v128): v128 {
  const sign = v128.and(value, i32x4.splat(F32_SIGN));
  const magnitude = v128.xor(value, sign);
  // As for BF16; what is too large for an F16 (65,520 on) has grown past the code of ∞ and is cut to it.
  const isOdd = v128.and(i32x4.shr_u(magnitude, F16_SHIFT), i32x4.splat(1));
  const rounded = i32x4.add(magnitude, i32x4.add(isOdd, i32x4.splat(0x0fff - REBIAS)));
  const normal = i32x4.min_s(i32x4.shr_s(rounded, F16_SHIFT), i32x4.splat(F16_INFINITY));
  // 0.5 has an ulp of 2^-24, the unit of subnormals: the addition rounds to it, the rise of the bits counts it.
  const half = f32x4.splat(0.5);
  const subnormal = i32x4.sub(f32x4.add(magnitude, half), half);
  const isSubnormal = i32x4.lt_s(magnitude, i32x4.splat(F16_NORMAL_MIN));
  const number = v128.bitselect(subnormal, normal, isSubnormal);
  const isNan = i32x4.gt_s(magnitude, i32x4.splat(F32_INFINITY));
  return v128.or(i32x4.shr_u(sign, 16), v128.bitselect(i32x4.splat(F16_QUIET_NAN), number, isNan));
}

/**
 * Two f64x2 → f32x4, rounded to odd: of the two neighbours of an inexact value the one with the odd mantissa. That one
 * still tells on which side of a tie the value lies, so that narrowing it to BF16 or F16 rounds as if from F64, once
 * (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
 */
// @ts-ignore: decorator
@inline
export function narrowToOdd(low: v128, high: v128): v128 {
  const nearestLow = f32x4.demote_f64x2_zero(low);
  const nearestHigh = f32x4.demote_f64x2_zero(high);
  const nearest = v128.shuffle<i32>(nearestLow, nearestHigh, 0, 1, 4, 5);
  const outward = v128.shuffle<i32>(excess(low, nearestLow), excess(high, nearestHigh), 0, 2, 4, 6);
  const isEven = i32x4.eq(v128.and(nearest, i32x4.splat(1)), i32x4.splat(0));
  return i32x4.sub(nearest, v128.and(outward, isEven));
}

/** Per lane of 64 bits: 1 where |nearest| > |value|, −1 where it is less, 0 where they are equal or NaN. */
// @ts-ignore: decorator
@inline
function excess(value: v128, nearest: v128): v128 {
  const magnitude = f64x2.abs(value);
  const nearestMagnitude = f64x2.abs(f64x2.promote_low_f32x4(nearest));
  return i64x2.sub(f64x2.lt(nearestMagnitude, magnitude), f64x2.gt(nearestMagnitude, magnitude));
}
