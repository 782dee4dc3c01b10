/**
 * The body of every digest: `Unit` is u8, u16 or u32. Two running sums of four lanes each, so that the additions of one
 * do not wait for those of the other: lane l of the sum a (0 or 1) has the units 8 k + 4 a + l. Of a run of 8 m units it
 * ends with
 *
 *   S = Σ x      W = Σ (m − k) x      and count − j = 8 (m − k) − (4 a + l) for unit j = 8 k + 4 a + l,
 *
 * so Σ (count − j) x over all lanes is Σ 8 W − (4 a + l) S. The units of the rest go on from there one at a time.
 */
// @ts-ignore: decorator
@inline
export function digest<Unit>(out: usize, src: usize, count: u32): void {
  let sum0 = i32x4.splat(0);
  let sum1 = i32x4.splat(0);
  let weighted0 = i32x4.splat(0);
  let weighted1 = i32x4.splat(0);
  for (; count >= 8; count -= 8) {
    sum0 = i32x4.add(sum0, loadFour<Unit>(src));
    sum1 = i32x4.add(sum1, loadFour<Unit>(src + 4 * sizeof<Unit>()));
    weighted0 = i32x4.add(weighted0, sum0);
    weighted1 = i32x4.add(weighted1, sum1);
    src += 8 * sizeof<Unit>();
  }
  const behind = i32x4.add(i32x4.mul(sum0, i32x4(0, 1, 2, 3)), i32x4.mul(sum1, i32x4(4, 5, 6, 7)));
  let sum = sumOfLanes(i32x4.add(sum0, sum1));
  let weighted = sumOfLanes(i32x4.sub(i32x4.shl(i32x4.add(weighted0, weighted1), 3), behind));
  for (; count > 0; count--) {
    const unit = <u32>load<Unit>(src);
    sum += unit ^ (unit >>> 16);
    weighted += sum;
    src += sizeof<Unit>();
  }
  store<f64>(out, <f64>sum);
  store<f64>(out, <f64>weighted, 8);
}

/** Four units, widened with zeros, each x as x ^ x >>> 16, which changes those of 4 bytes only. */
// @ts-ignore: decorator
@inline
function loadFour<Unit>(address: usize): v128 {
  if (sizeof<Unit>() == 4) {
    const units = v128.load(address);
    return v128.xor(units, i32x4.shr_u(units, 16));
  }
  if (sizeof<Unit>() == 2) return v128.load16x4_u(address);
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(address)));
}

// @ts-ignore: decorator
@inline
function sumOfLanes(lanes: v128): u32 {
  const pairs = i32x4.add(lanes, v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1));
  return i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1);
}
