// The exports: lerp_<precision>_<source> and cast_<from>_<to>. Addresses are u32 byte addresses that the caller has
// checked; there is no heap, no static data and no state. What they compute is in ../abi.ts.
import { cast } from './cast';
import { BF16, F16 } from './lanes';
import { lerp } from './lerp';

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
