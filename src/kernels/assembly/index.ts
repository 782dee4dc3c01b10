// The exports: lerp_<precision>_<source>, measure_<precision>_<source>, cast_<from>_<to>, finite_<source>,
// accumulate_<source> and digest_<unit bytes>. Addresses are u32 byte addresses that the caller has checked; there is no
// heap, no static data and no state. What they compute is in ../abi.ts.
import { accumulate } from './accumulate';
import { cast } from './cast';
import { digest } from './digest';
import { finite } from './finite';
import { BF16, F16 } from './lanes';
import { lerp } from './lerp';
import { measure } from './measure';

export function lerp_f32_f32(dst: usize, base: usize, src: usize, count: u32, weight: f32): void {
  lerp<f32, f32>(dst, base, src, count, weight);
}

export function lerp_f32_f64(dst: usize, base: usize, src: usize, count: u32, weight: f32): void {
  lerp<f32, f64>(dst, base, src, count, weight);
}

export function lerp_f32_bf16(dst: usize, base: usize, src: usize, count: u32, weight: f32): void {
  lerp<f32, BF16>(dst, base, src, count, weight);
}

export function lerp_f32_f16(dst: usize, base: usize, src: usize, count: u32, weight: f32): void {
  lerp<f32, F16>(dst, base, src, count, weight);
}

export function lerp_f64_f32(dst: usize, base: usize, src: usize, count: u32, weight: f64): void {
  lerp<f64, f32>(dst, base, src, count, weight);
}

export function lerp_f64_f64(dst: usize, base: usize, src: usize, count: u32, weight: f64): void {
  lerp<f64, f64>(dst, base, src, count, weight);
}

export function lerp_f64_bf16(dst: usize, base: usize, src: usize, count: u32, weight: f64): void {
  lerp<f64, BF16>(dst, base, src, count, weight);
}

export function lerp_f64_f16(dst: usize, base: usize, src: usize, count: u32, weight: f64): void {
  lerp<f64, F16>(dst, base, src, count, weight);
}

export function cast_f32_f32(dst: usize, src: usize, count: u32): void {
  memory.copy(dst, src, <usize>count * sizeof<f32>());
}

export function cast_f32_f64(dst: usize, src: usize, count: u32): void {
  cast<f32, f64>(dst, src, count);
}

export function cast_f32_bf16(dst: usize, src: usize, count: u32): void {
  cast<f32, BF16>(dst, src, count);
}

export function cast_f32_f16(dst: usize, src: usize, count: u32): void {
  cast<f32, F16>(dst, src, count);
}

export function cast_f64_f32(dst: usize, src: usize, count: u32): void {
  cast<f64, f32>(dst, src, count);
}

export function cast_f64_f64(dst: usize, src: usize, count: u32): void {
  memory.copy(dst, src, <usize>count * sizeof<f64>());
}

export function cast_f64_bf16(dst: usize, src: usize, count: u32): void {
  cast<f64, BF16>(dst, src, count);
}

export function cast_f64_f16(dst: usize, src: usize, count: u32): void {
  cast<f64, F16>(dst, src, count);
}

export function cast_bf16_f32(dst: usize, src: usize, count: u32): void {
  cast<BF16, f32>(dst, src, count);
}

export function cast_bf16_f64(dst: usize, src: usize, count: u32): void {
  cast<BF16, f64>(dst, src, count);
}

export function cast_bf16_bf16(dst: usize, src: usize, count: u32): void {
  memory.copy(dst, src, <usize>count * sizeof<BF16>());
}

export function cast_bf16_f16(dst: usize, src: usize, count: u32): void {
  cast<BF16, F16>(dst, src, count);
}

export function cast_f16_f32(dst: usize, src: usize, count: u32): void {
  cast<F16, f32>(dst, src, count);
}

export function cast_f16_f64(dst: usize, src: usize, count: u32): void {
  cast<F16, f64>(dst, src, count);
}

export function cast_f16_bf16(dst: usize, src: usize, count: u32): void {
  cast<F16, BF16>(dst, src, count);
}

export function cast_f16_f16(dst: usize, src: usize, count: u32): void {
  memory.copy(dst, src, <usize>count * sizeof<F16>());
}

export function measure_f32_f32(out: usize, base: usize, src: usize, count: u32, weight: f32): void {
  measure<f32, f32>(out, base, src, count, weight);
}

export function measure_f32_f64(out: usize, base: usize, src: usize, count: u32, weight: f32): void {
  measure<f32, f64>(out, base, src, count, weight);
}

export function measure_f32_bf16(out: usize, base: usize, src: usize, count: u32, weight: f32): void {
  measure<f32, BF16>(out, base, src, count, weight);
}

export function measure_f32_f16(out: usize, base: usize, src: usize, count: u32, weight: f32): void {
  measure<f32, F16>(out, base, src, count, weight);
}

export function measure_f64_f32(out: usize, base: usize, src: usize, count: u32, weight: f64): void {
  measure<f64, f32>(out, base, src, count, weight);
}

export function measure_f64_f64(out: usize, base: usize, src: usize, count: u32, weight: f64): void {
  measure<f64, f64>(out, base, src, count, weight);
}

export function measure_f64_bf16(out: usize, base: usize, src: usize, count: u32, weight: f64): void {
  measure<f64, BF16>(out, base, src, count, weight);
}

export function measure_f64_f16(out: usize, base: usize, src: usize, count: u32, weight: f64): void {
  measure<f64, F16>(out, base, src, count, weight);
}

export function finite_f32(src: usize, count: u32): i32 {
  return finite<f32>(src, count);
}

export function finite_f64(src: usize, count: u32): i32 {
  return finite<f64>(src, count);
}

export function finite_bf16(src: usize, count: u32): i32 {
  return finite<BF16>(src, count);
}

export function finite_f16(src: usize, count: u32): i32 {
  return finite<F16>(src, count);
}

export function accumulate_f32(sums: usize, src: usize, count: u32, weight: f64): void {
  accumulate<f32>(sums, src, count, weight);
}

export function accumulate_f64(sums: usize, src: usize, count: u32, weight: f64): void {
  accumulate<f64>(sums, src, count, weight);
}

export function accumulate_bf16(sums: usize, src: usize, count: u32, weight: f64): void {
  accumulate<BF16>(sums, src, count, weight);
}

export function accumulate_f16(sums: usize, src: usize, count: u32, weight: f64): void {
  accumulate<F16>(sums, src, count, weight);
}

export function digest_1(out: usize, src: usize, count: u32): void {
  digest<u8>(out, src, count);
}

export function digest_2(out: usize, src: usize, count: u32): void {
  digest<u16>(out, src, count);
}

export function digest_4(out: usize, src: usize, count: u32): void {
  digest<u32>(out, src, count);
}
