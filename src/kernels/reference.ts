import { DTYPE_BYTES, type FloatDType, type Precision } from '../common/index.js';
import type {
  AccumulateKernel,
  CastKernel,
  DigestKernel,
  FiniteKernel,
  LerpKernel,
  MeasureKernel,
  UnitBytes,
} from './abi.js';
import { FLOAT_FORMATS } from './float-formats.js';

// What the kernels mean, one element at a time. A view lasts for one call: growing the memory detaches its buffer.

const ROUND: Readonly<Record<Precision, Round>> = { F32: Math.fround, F64: (value) => value };

type Round = (value: number) => number;

/** θ − s, and 0 for equal infinities. */
function difference(s: number, theta: number): number {
  return theta === s ? 0 : theta - s;
}

function lerpOne(round: Round, s: number, theta: number, w: number): number {
  return round(s + round(w * round(difference(s, theta))));
}

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
      shadowFormat.write(view, dst + i * DTYPE_BYTES[precision], lerpOne(round, s, theta, w));
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

/** The measure of abi.ts. */
export function referenceMeasure(memory: WebAssembly.Memory, precision: Precision, from: FloatDType): MeasureKernel {
  const round = ROUND[precision];
  return (out, base, src, count, weight) => {
    const view = new DataView(memory.buffer);
    const w = round(weight);
    const [distances, norms] = [
      [0, 0],
      [0, 0],
    ] as [[number, number], [number, number]];
    let changed = 0;
    let nonZero = 0;
    for (let i = 0; i < count; i++) {
      const lane = (i & 1) as 0 | 1;
      const s = FLOAT_FORMATS[precision].read(view, base + i * DTYPE_BYTES[precision]);
      const theta = round(FLOAT_FORMATS[from].read(view, src + i * DTYPE_BYTES[from]));
      const distance = difference(s, theta);
      distances[lane] += distance * distance;
      if (Math.abs(s) !== Number.POSITIVE_INFINITY) norms[lane] += s * s;
      if (lerpOne(round, s, theta, w) !== s) changed += 1;
      if (s !== 0 || theta !== 0) nonZero += 1;
    }
    const sums = [distances[0] + distances[1], norms[0] + norms[1], changed, nonZero];
    for (const [index, sum] of sums.entries()) view.setFloat64(out + index * DTYPE_BYTES.F64, sum, true);
  };
}

/** The finite of abi.ts. */
export function referenceFinite(memory: WebAssembly.Memory, from: FloatDType): FiniteKernel {
  return (src, count) => {
    const view = new DataView(memory.buffer);
    for (let i = 0; i < count; i++) {
      if (!Number.isFinite(FLOAT_FORMATS[from].read(view, src + i * DTYPE_BYTES[from]))) return 0;
    }
    return 1;
  };
}

/** The accumulate of abi.ts. */
export function referenceAccumulate(memory: WebAssembly.Memory, from: FloatDType): AccumulateKernel {
  return (sums, src, count, weight) => {
    const view = new DataView(memory.buffer);
    for (let i = 0; i < count; i++) {
      const at = sums + i * DTYPE_BYTES.F64;
      const product = weight * FLOAT_FORMATS[from].read(view, src + i * DTYPE_BYTES[from]);
      FLOAT_FORMATS.F64.write(view, at, FLOAT_FORMATS.F64.read(view, at) + product);
    }
  };
}

const READ_UNIT: Readonly<Record<UnitBytes, (view: DataView, address: number) => number>> = {
  1: (view, address) => view.getUint8(address),
  2: (view, address) => view.getUint16(address, true),
  4: (view, address) => view.getUint32(address, true),
};

/** The digest of abi.ts. */
export function referenceDigest(memory: WebAssembly.Memory, unitBytes: UnitBytes): DigestKernel {
  const read = READ_UNIT[unitBytes];
  return (out, src, count) => {
    const view = new DataView(memory.buffer);
    let sum = 0;
    let weighted = 0;
    for (let i = 0; i < count; i++) {
      const unit = read(view, src + i * unitBytes);
      sum = (sum + (unit ^ (unit >>> 16))) >>> 0;
      weighted = (weighted + sum) >>> 0;
    }
    view.setFloat64(out, sum, true);
    view.setFloat64(out + DTYPE_BYTES.F64, weighted, true);
  };
}
