import { laneCount, loadLane, loadLanes } from './lanes';

/** Vectors in one turn of the main loop: enough to hide the latency of three dependent operations. */
const UNROLL: u32 = 4;

/** dst = base + weight * (θ − base) in the order of abi.ts; no fused multiply-add, which would round once less. */
// @ts-ignore: decorator
@inline
export function lerp<P, From>(dst: usize, base: usize, src: usize, count: u32, weight: P): void {
  const w = v128.splat<P>(weight);
  const lanes = laneCount<P>();
  for (; count >= UNROLL * lanes; count -= UNROLL * lanes) {
    for (let turn: u32 = 0; turn < UNROLL; turn++) {
      const at = turn * 16;
      v128.store(dst + at, lerpLanes<P>(v128.load(base + at), loadLanes<P, From>(src + turn * lanes * sizeof<From>()), w));
    }
    dst += UNROLL * 16;
    base += UNROLL * 16;
    src += UNROLL * lanes * sizeof<From>();
  }
  for (; count > 0; count--) {
    v128.store_lane<P>(dst, lerpLanes<P>(loadLane<P, P>(base), loadLane<P, From>(src), w), 0);
    dst += sizeof<P>();
    base += sizeof<P>();
    src += sizeof<From>();
  }
}

// @ts-ignore: decorator
@inline
function lerpLanes<P>(base: v128, theta: v128, weight: v128): v128 {
  return v128.add<P>(base, v128.mul<P>(weight, v128.sub<P>(theta, base)));
}
