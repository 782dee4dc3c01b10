/** The body of every finite: 1 when no element is infinite or NaN, which is when no exponent has all its bits set. */
// @ts-ignore: decorator
@inline
export function finite<From>(src: usize, count: u32): i32 {
  const perVector: u32 = 16 / sizeof<From>();
  let found = i32x4.splat(0);
  for (; count >= 4 * perVector; count -= 4 * perVector) {
    const first = v128.or(fullExponents<From>(v128.load(src)), fullExponents<From>(v128.load(src, 16)));
    const second = v128.or(fullExponents<From>(v128.load(src, 32)), fullExponents<From>(v128.load(src, 48)));
    found = v128.or(found, v128.or(first, second));
    src += 64;
  }
  for (; count > 0; count--) {
    found = v128.or(found, fullExponents<From>(loadOne<From>(src)));
    src += sizeof<From>();
  }
  return v128.any_true(found) ? 0 : 1;
}

/** Lanes of ones where an exponent is full. */
// @ts-ignore: decorator
@inline
function fullExponents<From>(bits: v128): v128 {
  const mask = exponentMask<From>();
  const exponents = v128.and(bits, mask);
  if (sizeof<From>() == 8) return i64x2.eq(exponents, mask);
  if (sizeof<From>() == 4) return i32x4.eq(exponents, mask);
  return i16x8.eq(exponents, mask);
}

// @ts-ignore: decorator
@inline
function exponentMask<From>(): v128 {
  if (sizeof<From>() == 8) return i64x2.splat(0x7ff0000000000000);
  if (sizeof<From>() == 4) return i32x4.splat(0x7f800000);
  return i16x8.splat(isSigned<From>() ? 0x7f80 : 0x7c00);
}

/** One element, zeros beside it. */
// @ts-ignore: decorator
@inline
function loadOne<From>(src: usize): v128 {
  if (sizeof<From>() == 8) return v128.load64_zero(src);
  if (sizeof<From>() == 4) return v128.load32_zero(src);
  return v128.load16_lane(src, i16x8.splat(0), 0);
}
