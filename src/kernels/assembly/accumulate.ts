import { loadF32Lane, loadF32x4, promoteHigh } from './lanes';

/** The body of every accumulate: sums of F64 take weight × source, each product and each sum rounded. */
// @ts-ignore: decorator
@inline
export function accumulate<From>(sums: usize, src: usize, count: u32, weight: f64): void {
  const weights = f64x2.splat(weight);
  for (; count >= 4; count -= 4) {
    if (sizeof<From>() == 8) {
      addTwo(sums, v128.load(src), weights);
      addTwo(sums + 16, v128.load(src + 16), weights);
    } else {
      const value = loadF32x4<From>(src);
      addTwo(sums, f64x2.promote_low_f32x4(value), weights);
      addTwo(sums + 16, promoteHigh(value), weights);
    }
    sums += 32;
    src += 4 * sizeof<From>();
  }
  for (; count > 0; count--) {
    const value = sizeof<From>() == 8 ? v128.load64_zero(src) : f64x2.promote_low_f32x4(loadF32Lane<From>(src));
    v128.store64_lane(sums, sum(v128.load64_zero(sums), value, weights), 0);
    sums += 8;
    src += sizeof<From>();
  }
}

// @ts-ignore: decorator
@inline
function addTwo(sums: usize, value: v128, weights: v128): void {
  v128.store(sums, sum(v128.load(sums), value, weights));
}

// @ts-ignore: decorator
@inline
function sum(sums: v128, value: v128, weights: v128): v128 {
  return f64x2.add(sums, f64x2.mul(weights, value));
}
