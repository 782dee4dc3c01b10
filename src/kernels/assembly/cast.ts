import { laneCount, loadLane, loadLanes, loadLanesToOdd, loadLaneToOdd, storeNarrowed, storeNarrowedLane } from './lanes';

/** dst = src in another dtype, rounded once. F32 and F64 are stored as loaded, F16 and BF16 are narrowed from F32. */
// @ts-ignore: decorator
@inline
export function cast<From, To>(dst: usize, src: usize, count: u32): void {
  const lanes: u32 = sizeof<To>() == 8 ? 2 : 4;
  for (; count >= lanes; count -= lanes) {
    if (isFloat<To>()) v128.store(dst, loadLanes<To, From>(src));
    else if (sizeof<From>() == 8) storeNarrowed<To>(dst, loadLanesToOdd(src));
    else storeNarrowed<To>(dst, loadLanes<f32, From>(src));
    dst += lanes * sizeof<To>();
    src += lanes * sizeof<From>();
  }
  for (; count > 0; count--) {
    if (isFloat<To>()) v128.store_lane<To>(dst, loadLane<To, From>(src), 0);
    else if (sizeof<From>() == 8) storeNarrowedLane<To>(dst, loadLaneToOdd(src));
    else storeNarrowedLane<To>(dst, loadLane<f32, From>(src));
    dst += sizeof<To>();
    src += sizeof<From>();
  }
}
