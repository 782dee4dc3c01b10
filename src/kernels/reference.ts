import { DTYPE_BYTES, type FloatDType, type Precision } from '../common/index.js';
import type { CastKernel, LerpKernel } from './abi.js';
import { FLOAT_FORMATS } from './float-formats.js';

// What the kernels mean, one element at a time. A view lasts for one call: growing the memory detaches its buffer.

const ROUND: Readonly<Record<Precision, (value: number) => number>> = { F32: Math.fround, F64: (value) => value };

/** The lerp of abi.ts in plain arithmetic. */
export function referenceLerp(memory: WebAssembly.Memory, precision: Precision, from: FloatDType): LerpKernel {
  const round = ROUND[precision];
  const shadowFormat = FLOAT_FORMATS[precision];
  const sourceFormat = FLOAT_FORMATS[from];
  return (dst, base, src, count, weight) => {
    const view = new DataView(memory.buffer);
    const w = round(weight);
    for (let i = 0; i < count; i++) {
      const s = shadowFormat.read(view, base + i * DTYPE_BYTES[precision]);
      const theta = round(sourceFormat.read(view, src + i * DTYPE_BYTES[from]));
      const step = round(w * round(theta - s));
      shadowFormat.write(view, dst + i * DTYPE_BYTES[precision], round(s + step));
    }
  };
}

/** The cast of abi.ts: a double holds every value of every format, so writing is the only rounding. */
export function referenceCast(memory: WebAssembly.Memory, from: FloatDType, to: FloatDType): CastKernel {
  const sourceFormat = FLOAT_FORMATS[from];
  const targetFormat = FLOAT_FORMATS[to];
  return (dst, src, count) => {
    const view = new DataView(memory.buffer);
    for (let i = 0; i < count; i++) {
      const value = sourceFormat.read(view, src + i * DTYPE_BYTES[from]);
      targetFormat.write(view, dst + i * DTYPE_BYTES[to], value);
    }
  };
}
