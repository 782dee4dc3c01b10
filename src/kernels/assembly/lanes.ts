// From memory to vectors of four, and one element to lane 0: the rest of a range that is no multiple of four goes
// through the same arithmetic.
import { widenBf16, widenF16 } from './half';

// AssemblyScript knows neither F16 nor BF16: these integer types of their size stand for them in generic functions,
// which tell the four dtypes apart at compile time with isFloat, isSigned and sizeof.
export type F16 = u16;
export type BF16 = i16;

/** Four elements → f32x4; F64 is rounded to nearest even, the others are exact. */
// @ts-ignore: decorator
@inline
export function loadF32x4<From>(address: usize): v128 {
  if (!isFloat<From>()) return widen<From>(v128.load16x4_s(address));
  if (sizeof<From>() == 4) return v128.load(address);
  const low = f32x4.demote_f64x2_zero(v128.load(address));
  const high = f32x4.demote_f64x2_zero(v128.load(address + 16));
  return v128.shuffle<i32>(low, high, 0, 1, 4, 5);
}

/** One element, as `loadF32x4` has it; the other lanes mean nothing. */
// @ts-ignore: decorator
@inline
export function loadF32Lane<From>(address: usize): v128 {
  if (!isFloat<From>()) return widen<From>(i32x4.splat(load<i16>(address)));
  if (sizeof<From>() == 4) return v128.load32_zero(address);
  return f32x4.demote_f64x2_zero(v128.load64_zero(address));
}

/** f32x4 → the two upper lanes as f64x2. */
// @ts-ignore: decorator
@inline
export function promoteHigh(value: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(value, value, 1, 1));
}

// @ts-ignore: decorator
@inline
function widen<From>(codes: v128): v128 {
  return isSigned<From>() ? widenBf16(codes) : widenF16(codes);
}
