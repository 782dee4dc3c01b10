import { DTYPE_BYTES, type FloatDType } from '../../src/common/index.js';
import { HALF_VALUES, nearestCode, rounded } from './oracle.js';

/** Elements of `dtype` from any address. */
export function readElements(memory: WebAssembly.Memory, dtype: FloatDType, address: number, count: number) {
  const view = new DataView(memory.buffer, address, count * DTYPE_BYTES[dtype]);
  return Float64Array.from({ length: count }, (_, i) => {
    const at = i * DTYPE_BYTES[dtype];
    if (dtype === 'F64') return view.getFloat64(at, true);
    if (dtype === 'F32') return view.getFloat32(at, true);
    return HALF_VALUES[dtype][view.getUint16(at, true)]!;
  });
}

/** Values of `dtype` to any address. */
export function writeElements(memory: WebAssembly.Memory, dtype: FloatDType, address: number, values: Float64Array) {
  const view = new DataView(memory.buffer, address, values.length * DTYPE_BYTES[dtype]);
  values.forEach((value, i) => {
    const at = i * DTYPE_BYTES[dtype];
    if (dtype === 'F64') view.setFloat64(at, value, true);
    else if (dtype === 'F32') view.setFloat32(at, value, true);
    else view.setUint16(at, nearestCode(value, dtype), true);
  });
}

/** The first element that is not the same number: −0 is not 0, NaN is NaN. */
export function firstDifference(actual: Float64Array, expected: Float64Array): string | undefined {
  if (actual.length !== expected.length) return `${actual.length} elements, not ${expected.length}`;
  const index = expected.findIndex((value, i) => !Object.is(value, actual[i]));
  return index < 0 ? undefined : `[${index}] is ${show(actual[index]!)}, not ${show(expected[index]!)}`;
}

function show(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** Whether `run` writes nothing but the `bytes` from `address` on. */
export function writesOnly(memory: WebAssembly.Memory, address: number, bytes: number, run: () => void): boolean {
  const after = Buffer.from(memory.buffer);
  const before = Buffer.from(after);
  run();
  after.copy(before, address, address, address + bytes);
  return after.equals(before);
}

/** Bounds of the formats, and what is not a number or has no neighbour on one side. */
const SPECIAL_VALUES = [
  ...[0, 1, Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_VALUE, Number.MIN_VALUE, 2 ** -1022],
  ...[3.4028234663852886e38, 2 ** -126, 2 ** -149, 3.3895313892515355e38, 2 ** -133],
  ...[65_504, 65_519.99, 65_520, 2 ** -14, 2 ** -24, 2 ** -25],
].flatMap((value) => [value, -value]);

/** A quarter special, a quarter of any magnitude, half of magnitudes as weights have them; all values of `dtype`. */
export function sampleElements(random: () => number, dtype: FloatDType, count: number): Float64Array {
  return Float64Array.from({ length: count }, () => rounded(sampleOne(random), dtype));
}

function sampleOne(random: () => number): number {
  const kind = random() % 4;
  if (kind === 0) return SPECIAL_VALUES[random() % SPECIAL_VALUES.length]!;
  if (kind === 1) return new Float64Array(Uint32Array.of(random(), random()).buffer)[0]!;
  return (random() / 2 ** 31 - 1) * 2 ** ((random() % 40) - 30);
}

/** Pseudo-random integers of 32 bits, the same for the same seed (mulberry32). */
export function randomBits(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return (bits ^ (bits >>> 14)) >>> 0;
  };
}
