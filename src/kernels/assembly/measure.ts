import { lerpLanes } from './lerp';
import { loadF32Lane } from './lanes';

/**
 * The body of every measure: what a lerp with the same operands does to the elements, as sums at `out` (abi.ts draws
 * them). One element at a time in the order of the addresses, even ones into the lower lane, odd ones into the upper,
 * so that the order of the additions is fixed; it runs on a sample only.
 */
// @ts-ignore: decorator
@inline
export function measure<P, From>(out: usize, base: usize, src: usize, count: u32, weight: P): void {
  const weights = v128.splat<P>(weight);
  let distanceEven: f64 = 0;
  let distanceOdd: f64 = 0;
  let normEven: f64 = 0;
  let normOdd: f64 = 0;
  let changed: f64 = 0;
  let nonZero: f64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const s = loadPrecision<P>(base);
    const theta = loadTheta<P, From>(src);
    const next = lane0<P>(lerpLanes<P>(s, theta, weights));
    const before = lane0<P>(s);
    const weightOf = lane0<P>(theta);
    const distance = weightOf == before ? 0 : weightOf - before;
    const square = abs(before) == Infinity ? 0 : before * before;
    if (i & 1) {
      distanceOdd += distance * distance;
      normOdd += square;
    } else {
      distanceEven += distance * distance;
      normEven += square;
    }
    if (next != before) changed += 1;
    if (before != 0 || weightOf != 0) nonZero += 1;
    base += sizeof<P>();
    src += sizeof<From>();
  }
  store<f64>(out, distanceEven + distanceOdd);
  store<f64>(out, normEven + normOdd, 8);
  store<f64>(out, changed, 16);
  store<f64>(out, nonZero, 24);
}

// @ts-ignore: decorator
@inline
function loadPrecision<P>(address: usize): v128 {
  return sizeof<P>() == 4 ? v128.load32_zero(address) : v128.load64_zero(address);
}

/** The source in the shadow's precision. */
// @ts-ignore: decorator
@inline
function loadTheta<P, From>(address: usize): v128 {
  if (sizeof<P>() == 4) return loadF32Lane<From>(address);
  return sizeof<From>() == 8 ? v128.load64_zero(address) : f64x2.promote_low_f32x4(loadF32Lane<From>(address));
}

// @ts-ignore: decorator
@inline
function lane0<P>(value: v128): f64 {
  return sizeof<P>() == 4 ? <f64>f32x4.extract_lane(value, 0) : f64x2.extract_lane(value, 0);
}
