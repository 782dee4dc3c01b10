// Vectors and single elements between memory and registers. A single element rides in lane 0 of a vector, so that the
// tail of a range goes through the same arithmetic as its body.
import { narrowToBf16, narrowToF16, narrowToOdd, widenBf16, widenF16 } from './half';

// AssemblyScript knows neither F16 nor BF16: these integer types of their size stand for them in generic functions,
// which tell the four dtypes apart at compile time with isFloat, isSigned and sizeof.
export type F16 = u16;
export type BF16 = i16;

/** Elements in a vector of `Lane`: 4 of f32, 2 of f64. */
// @ts-ignore: decorator
@inline
export function laneCount<Lane>(): u32 {
  return 16 / sizeof<Lane>();
}

/** A vector of `Lane` from as many elements of `From`; to nearest even from F64 to F32, exact otherwise. */
// @ts-ignore: decorator
@inline
export function loadLanes<Lane, From>(address: usize): v128 {
  if (sizeof<Lane>() == sizeof<From>()) return v128.load(address);
  if (sizeof<Lane>() == 8) {
    if (isFloat<From>()) return f64x2.promote_low_f32x4(v128.load64_zero(address));
    return f64x2.promote_low_f32x4(widen<From>(i32x4.extend_low_i16x8_u(v128.load32_zero(address))));
  }
  if (isFloat<From>()) return join(f32x4.demote_f64x2_zero(v128.load(address)), f32x4.demote_f64x2_zero(v128.load(address, 16)));
  return widen<From>(v128.load16x4_u(address));
}

/** One element of `From` in lane 0, as `loadLanes` has it; the other lanes are finite and without meaning. */
// @ts-ignore: decorator
@inline
export function loadLane<Lane, From>(address: usize): v128 {
  if (isFloat<From>()) {
    if (sizeof<From>() == 8) {
      const value = v128.load64_zero(address);
      return sizeof<Lane>() == 8 ? value : f32x4.demote_f64x2_zero(value);
    }
    const value = v128.load32_zero(address);
    return sizeof<Lane>() == 4 ? value : f64x2.promote_low_f32x4(value);
  }
  const value = widen<From>(i32x4.splat(load<u16>(address)));
  return sizeof<Lane>() == 4 ? value : f64x2.promote_low_f32x4(value);
}

/** Like `loadLanes<f32, f64>`, rounded to odd: on the way to BF16 or F16. */
// @ts-ignore: decorator
@inline
export function loadLanesToOdd(address: usize): v128 {
  return join(narrowToOdd(v128.load(address)), narrowToOdd(v128.load(address, 16)));
}

// @ts-ignore: decorator
@inline
export function loadLaneToOdd(address: usize): v128 {
  return narrowToOdd(v128.load64_zero(address));
}

/** f32x4 → 4 elements of BF16 or F16. */
// @ts-ignore: decorator
@inline
export function storeNarrowed<To>(address: usize, value: v128): void {
  const codes = narrow<To>(value);
  v128.store64_lane(address, i16x8.narrow_i32x4_u(codes, codes), 0);
}

// @ts-ignore: decorator
@inline
export function storeNarrowedLane<To>(address: usize, value: v128): void {
  v128.store16_lane(address, narrow<To>(value), 0);
}

// @ts-ignore: decorator
@inline
function widen<From>(codes: v128): v128 {
  return isSigned<From>() ? widenBf16(codes) : widenF16(codes);
}

// @ts-ignore: decorator
@inline
function narrow<To>(value: v128): v128 {
  return isSigned<To>() ? narrowToBf16(value) : narrowToF16(value);
}

/** The two lower lanes of each. */
// @ts-ignore: decorator
@inline
function join(low: v128, high: v128): v128 {
  return v128.shuffle<i32>(low, high, 0, 1, 4, 5);
}
