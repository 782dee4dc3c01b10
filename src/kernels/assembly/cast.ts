import { narrowToBf16, narrowToF16, narrowToOdd } from './half';
import { loadF32Lane, loadF32x4, promoteHigh } from './lanes';

/** The body of every cast between two different dtypes. */
// @ts-ignore: decorator
@inline
export function cast<From, To>(dst: usize, src: usize, count: u32): void {
  for (; count >= 4; count -= 4) {
    castFour<From, To>(dst, src);
    dst += 4 * sizeof<To>();
    src += 4 * sizeof<From>();
  }
  for (; count > 0; count--) {
    castOne<From, To>(dst, src);
    dst += sizeof<To>();
    src += sizeof<From>();
  }
}

// @ts-ignore: decorator
@inline
function castFour<From, To>(dst: usize, src: usize): void {
  if (sizeof<To>() == 8) {
    const value = loadF32x4<From>(src);
    v128.store(dst, f64x2.promote_low_f32x4(value));
    v128.store(dst + 16, promoteHigh(value));
  } else if (sizeof<To>() == 4) {
    v128.store(dst, loadF32x4<From>(src));
  } else {
    const value = sizeof<From>() == 8 ? narrowToOdd(v128.load(src), v128.load(src + 16)) : loadF32x4<From>(src);
    const codes = narrow<To>(value);
    v128.store64_lane(dst, i16x8.narrow_i32x4_u(codes, codes), 0);
  }
}

// @ts-ignore: decorator
@inline
function castOne<From, To>(dst: usize, src: usize): void {
  if (sizeof<To>() == 8) {
    v128.store64_lane(dst, f64x2.promote_low_f32x4(loadF32Lane<From>(src)), 0);
  } else if (sizeof<To>() == 4) {
    v128.store32_lane(dst, loadF32Lane<From>(src), 0);
  } else {
    const value = sizeof<From>() == 8 ? narrowToOdd(v128.load64_zero(src), i64x2.splat(0)) : loadF32Lane<From>(src);
    v128.store16_lane(dst, narrow<To>(value), 0);
  }
}

// @ts-ignore: decorator
@inline
function narrow<To>(value: v128): v128 {
  return isSigned<To>() ? narrowToBf16(value) : narrowToF16(value);
}
