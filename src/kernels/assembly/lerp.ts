import { loadF32Lane, loadF32x4, promoteHigh } from './lanes';

/** The body of every lerp: `P` is f32 or f64. Sixteen elements a turn are a fifth faster than four. */
// @ts-ignore: decorator
@inline
export function lerp<P, From>(dst: usize, base: usize, src: usize, count: u32, weight: P): void {
  const weights = v128.splat<P>(weight);
  for (; count >= 16; count -= 16) {
    lerpFour<P, From>(dst, base, src, weights);
    lerpFour<P, From>(dst + 4 * sizeof<P>(), base + 4 * sizeof<P>(), src + 4 * sizeof<From>(), weights);
    lerpFour<P, From>(dst + 8 * sizeof<P>(), base + 8 * sizeof<P>(), src + 8 * sizeof<From>(), weights);
    lerpFour<P, From>(dst + 12 * sizeof<P>(), base + 12 * sizeof<P>(), src + 12 * sizeof<From>(), weights);
    dst += 16 * sizeof<P>();
    base += 16 * sizeof<P>();
    src += 16 * sizeof<From>();
  }
  for (; count > 0; count--) {
    lerpOne<P, From>(dst, base, src, weights);
    dst += sizeof<P>();
    base += sizeof<P>();
    src += sizeof<From>();
  }
}

// @ts-ignore: decorator
@inline
function lerpFour<P, From>(dst: usize, base: usize, src: usize, weights: v128): void {
  if (sizeof<P>() == 4) {
    lerpVector<P>(dst, base, loadF32x4<From>(src), weights);
  } else if (sizeof<From>() == 8) {
    lerpVector<P>(dst, base, v128.load(src), weights);
    lerpVector<P>(dst + 16, base + 16, v128.load(src + 16), weights);
  } else {
    const theta = loadF32x4<From>(src);
    lerpVector<P>(dst, base, f64x2.promote_low_f32x4(theta), weights);
    lerpVector<P>(dst + 16, base + 16, promoteHigh(theta), weights);
  }
}

// @ts-ignore: decorator
@inline
function lerpVector<P>(dst: usize, base: usize, theta: v128, weights: v128): void {
  v128.store(dst, lerpLanes<P>(v128.load(base), theta, weights));
}

// @ts-ignore: decorator
@inline
function lerpOne<P, From>(dst: usize, base: usize, src: usize, weights: v128): void {
  if (sizeof<P>() == 4) {
    v128.store32_lane(dst, lerpLanes<P>(v128.load32_zero(base), loadF32Lane<From>(src), weights), 0);
  } else {
    const theta = sizeof<From>() == 8 ? v128.load64_zero(src) : f64x2.promote_low_f32x4(loadF32Lane<From>(src));
    v128.store64_lane(dst, lerpLanes<P>(v128.load64_zero(base), theta, weights), 0);
  }
}

/** The order of abi.ts, each operation rounded: a fused multiply-add would give other bits. */
// @ts-ignore: decorator
@inline
export function lerpLanes<P>(base: v128, theta: v128, weights: v128): v128 {
  // The mask changes nothing but ∞ − ∞: the difference of equal finite values is 0 already.
  const difference = v128.andnot(v128.sub<P>(theta, base), v128.eq<P>(theta, base));
  return v128.add<P>(base, v128.mul<P>(weights, difference));
}
