import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES, PRECISIONS, type Precision } from '../../src/common/index.js';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';
import { firstDifference, randomBits, readElements, sampleElements, writeElements, writesOnly } from './elements.js';
import { HALF_VALUES, type HalfDType, INFINITY_CODE, midpointAbove, rounded } from './oracle.js';

const SEED = 20_240_602;
const MODES: readonly KernelMode[] = ['simd', 'scalar'];
const HALVES: readonly HalfDType[] = ['F16', 'BF16'];
const PAIRS = FLOAT_DTYPES.flatMap((from) => FLOAT_DTYPES.map((to) => ({ from, to })));
const NARROWINGS = HALVES.flatMap((half) => PRECISIONS.map((precision) => ({ half, precision })));

const COUNT_MAX = 260;
/** Apart enough for COUNT_MAX elements of 8 bytes, an odd address and untouched bytes around. */
const SRC = 1_024;
const DST = 8_192;

describe.each(MODES)(`cast, %s, seed ${SEED}`, (mode) => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { cast } = createKernels({ memory, mode });

  test.each(PAIRS)('$from to $to: every count at any address', ({ from, to }) => {
    const random = randomBits(SEED);
    for (let count = 0; count <= COUNT_MAX; count++) {
      const src = SRC + (random() % 16);
      const dst = DST + (random() % 16);
      const sources = sampleElements(random, from, count);
      new Uint8Array(memory.buffer).fill(0xa5);
      writeElements(memory, from, src, sources);

      const bytes = count * DTYPE_BYTES[to];
      const contained = writesOnly(memory, dst, bytes, () => cast[from][to](dst, src, count));

      const expected = sources.map((source) => rounded(source, to));
      const difference = firstDifference(readElements(memory, to, dst, count), expected);
      expect({ count, dst, src, difference, contained }).toMatchObject({ difference: undefined, contained: true });
    }
  });
});

describe.each(MODES)('cast of all codes, %s', (mode) => {
  const CODES = 65_536;
  /** All codes, then their F32 or F64 values, then codes again. */
  const WIDE = CODES * 2;
  const BACK = WIDE + CODES * 8;
  const memory = new WebAssembly.Memory({ initial: (BACK + CODES * 2) / 65_536 });
  const { cast } = createKernels({ memory, mode });

  test.each(NARROWINGS)('$half to $precision is exact, and back the same code', ({ half, precision }) => {
    const codes = new Uint16Array(memory.buffer, 0, CODES).map((_, code) => code);
    new Uint16Array(memory.buffer).set(codes);
    cast[half][precision](WIDE, 0, CODES);
    expect(firstDifference(readElements(memory, precision, WIDE, CODES), HALF_VALUES[half])).toBeUndefined();

    cast[precision][half](BACK, WIDE, CODES);
    const back = new Uint16Array(memory.buffer, BACK, CODES);
    const changed = codes.filter((code) => back[code] !== code && !Number.isNaN(HALF_VALUES[half][code]));
    expect([...changed]).toEqual([]);
    expect(firstDifference(readElements(memory, half, BACK, CODES), HALF_VALUES[half])).toBeUndefined();
  });
});

describe.each(MODES)('cast rounds once, to nearest even, %s', (mode) => {
  // A value and its midpoint, each with two neighbours, of either sign: 12 for each finite code.
  const memory = new WebAssembly.Memory({ initial: Math.ceil((INFINITY_CODE.BF16 * 12 * 10) / 65_536) });
  const { cast } = createKernels({ memory, mode });

  test.each(NARROWINGS)('$precision to $half: about each code and each midpoint', ({ half, precision }) => {
    const values: number[] = [];
    for (let code = 0; code < INFINITY_CODE[half]; code++) {
      for (const value of [HALF_VALUES[half][code]!, midpointAbove(code, half)]) {
        const about = [neighbour(value, precision, -1), value, neighbour(value, precision, 1)];
        values.push(...about, ...about.map((near) => -near));
      }
    }
    const sources = Float64Array.from(values);
    const dst = sources.length * 8;
    writeElements(memory, precision, 0, sources);
    cast[precision][half](dst, 0, sources.length);
    const expected = sources.map((source) => rounded(source, half));
    expect(firstDifference(readElements(memory, half, dst, sources.length), expected)).toBeUndefined();
  });

  test(`F64 to F32: about midpoints, seed ${SEED}`, () => {
    const random = randomBits(SEED);
    const lowers = Array.from({ length: 10_000 }, () => floatOf(random() % 0x7f7f_ffff));
    // The least subnormals and the last finite value, beyond which lies ∞.
    const cases = [0, floatOf(1), floatOf(0x007f_ffff), floatOf(0x7f7f_fffe), ...lowers].flatMap((lower) => {
      const upper = neighbour(lower, 'F32', 1);
      const middle = lower / 2 + upper / 2;
      const even = bitsOf(lower) % 2 === 0 ? lower : upper;
      return [
        { source: neighbour(middle, 'F64', -1), result: lower },
        { source: middle, result: even },
        { source: neighbour(middle, 'F64', 1), result: upper },
      ];
    });
    const past = 2 ** 128 - 2 ** 103;
    cases.push(
      { source: past, result: Infinity },
      { source: neighbour(past, 'F64', -1), result: floatOf(0x7f7f_ffff) },
    );

    const dst = cases.length * 8;
    writeElements(
      memory,
      'F64',
      0,
      Float64Array.from(cases, ({ source }) => source),
    );
    cast.F64.F32(dst, 0, cases.length);
    const expected = Float64Array.from(cases, ({ result }) => result);
    expect(firstDifference(readElements(memory, 'F32', dst, cases.length), expected)).toBeUndefined();
  });
});

describe.each(MODES)('cast of NaN, %s', (mode) => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { cast } = createKernels({ memory, mode });
  // The least and the largest payload, signalling and quiet, of either sign: cut or rounded like a number, the first
  // would become ∞ and the last would wrap around to 0.
  const f32Codes = [0x7f80_0001, 0x7fbf_ffff, 0x7fc0_0000, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff];
  // The same payloads, in the last bits of an F64.
  const f64Codes = f32Codes.map((code) => (BigInt(code >>> 31) << 63n) | (0x7ffn << 52n) | BigInt(code & 0x7f_ffff));

  test.each(FLOAT_DTYPES)('F32 and F64 to %s: NaN stays NaN', (to) => {
    new Uint32Array(memory.buffer).set(f32Codes);
    new BigUint64Array(memory.buffer, SRC).set(f64Codes);
    const nans = new Float64Array(f32Codes.length).fill(Number.NaN);
    cast.F32[to](DST, 0, f32Codes.length);
    expect(firstDifference(readElements(memory, to, DST, nans.length), nans)).toBeUndefined();
    cast.F64[to](DST, SRC, f64Codes.length);
    expect(firstDifference(readElements(memory, to, DST, nans.length), nans)).toBeUndefined();
  });
});

/** The next value of the precision, up or down; `value` is not negative. */
function neighbour(value: number, precision: Precision, direction: 1 | -1): number {
  if (value === 0) return direction * (precision === 'F32' ? 2 ** -149 : Number.MIN_VALUE);
  if (precision === 'F32') return floatOf(bitsOf(value) + direction);
  const bits = new BigInt64Array(Float64Array.of(value).buffer)[0]!;
  return new Float64Array(BigInt64Array.of(bits + BigInt(direction)).buffer)[0]!;
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}
