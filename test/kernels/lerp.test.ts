import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES, type FloatDType, PRECISIONS, type Precision } from '../../src/common/index.js';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';
import { firstDifference, randomBits, readElements, sampleElements, writeElements, writesOnly } from './elements.js';
import { lerped } from './oracle.js';

const SEED = 20_240_601;
const MODES: readonly KernelMode[] = ['simd', 'scalar'];
const PAIRS = PRECISIONS.flatMap((precision) => FLOAT_DTYPES.map((from) => ({ precision, from })));

/** Sixteen full turns of the unrolled loop and each rest. */
const COUNT_MAX = 260;
/** Apart enough for COUNT_MAX elements of 8 bytes, an odd address and untouched bytes around. */
const BASE = 1_024;
const SRC = 4_096;
const DST = 8_192;

/** None, all, halves, usual ones, the least of each precision, one that F32 cannot hold, nearly all. */
const WEIGHTS = [0, 1, 0.5, 0.001, 1 / 3, 2 ** -149, Number.MIN_VALUE, 0.1, 1 - 2 ** -24, 1 - 2 ** -53];

describe.each(MODES)(`lerp, %s, seed ${SEED}`, (mode) => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { lerp } = createKernels({ memory, mode });

  describe.each(PAIRS)('$precision from $from', ({ precision, from }) => {
    test.each([
      { where: 'in place', inPlace: true },
      { where: 'into other memory', inPlace: false },
    ])('every count at any address, $where', ({ inPlace }) => {
      const random = randomBits(SEED);
      for (let count = 0; count <= COUNT_MAX; count++) {
        const base = BASE + (random() % 16);
        const src = SRC + (random() % 16);
        const dst = inPlace ? base : DST + (random() % 16);
        const weight = WEIGHTS[count % WEIGHTS.length]!;
        const shadows = sampleElements(random, precision, count);
        const sources = sampleElements(random, from, count);
        new Uint8Array(memory.buffer).fill(0xa5);
        writeElements(memory, precision, base, shadows);
        writeElements(memory, from, src, sources);

        const bytes = count * DTYPE_BYTES[precision];
        const contained = writesOnly(memory, dst, bytes, () => lerp[precision][from](dst, base, src, count, weight));

        const expected = shadows.map((shadow, i) => lerped(shadow, sources[i]!, weight, precision));
        const difference = firstDifference(readElements(memory, precision, dst, count), expected);
        expect({ count, dst, base, src, weight, difference, contained }).toMatchObject({
          difference: undefined,
          contained: true,
        });
      }
    });
  });

  test.each<{
    what: string;
    precision: Precision;
    from: FloatDType;
    numbers: [number, number, number];
    result: number;
  }>([
    { what: 'a quarter of the way', precision: 'F32', from: 'F32', numbers: [1, 3, 0.25], result: 1.5 },
    { what: 'a quarter of the way', precision: 'F64', from: 'BF16', numbers: [1, 3, 0.25], result: 1.5 },
    // 1 − 1e8 is rounded to −1e8 before it is added again.
    { what: 'the difference is rounded', precision: 'F32', from: 'F32', numbers: [1e8, 1, 1], result: 0 },
    { what: 'the source is rounded first', precision: 'F32', from: 'F64', numbers: [0, 1 + 2 ** -25, 1], result: 1 },
    // (1 + 2^-12)² = 1 + 2^-11 + 2^-24 loses its last bit in F32; fused with the addition of −1 it would keep it.
    {
      what: 'the product is rounded',
      precision: 'F32',
      from: 'F32',
      numbers: [-1, 2 ** -12, 1 + 2 ** -12],
      result: 2 ** -11,
    },
    { what: 'the weight is rounded', precision: 'F32', from: 'F32', numbers: [0, 1, 0.1], result: Math.fround(0.1) },
    { what: 'the weight is not rounded', precision: 'F64', from: 'F32', numbers: [0, 1, 0.1], result: 0.1 },
    {
      what: 'equal infinities stay',
      precision: 'F32',
      from: 'F16',
      numbers: [Infinity, Infinity, 0.5],
      result: Infinity,
    },
    {
      what: 'equal infinities stay',
      precision: 'F64',
      from: 'F32',
      numbers: [-Infinity, -Infinity, 0.5],
      result: -Infinity,
    },
    // 1e39 is ∞ once it is rounded to F32.
    {
      what: 'a source that is rounded to ∞',
      precision: 'F32',
      from: 'F64',
      numbers: [Infinity, 1e39, 0.5],
      result: Infinity,
    },
    {
      what: 'opposite infinities',
      precision: 'F32',
      from: 'BF16',
      numbers: [Infinity, -Infinity, 0.5],
      result: Number.NaN,
    },
    { what: 'to an infinity', precision: 'F64', from: 'F16', numbers: [1, -Infinity, 0.5], result: -Infinity },
    { what: 'NaN', precision: 'F32', from: 'F32', numbers: [Number.NaN, Number.NaN, 0.5], result: Number.NaN },
  ])('$what: $precision from $from', ({ precision, from, numbers: [shadow, source, weight], result }) => {
    // Seventeen elements: one turn of the main loop and one element of the rest.
    const count = 17;
    writeElements(memory, precision, BASE, new Float64Array(count).fill(shadow));
    writeElements(memory, from, SRC, new Float64Array(count).fill(source));
    lerp[precision][from](BASE, BASE, SRC, count, weight);
    const expected = new Float64Array(count).fill(result);
    expect(firstDifference(readElements(memory, precision, BASE, count), expected)).toBeUndefined();
  });
});

describe(`lerp, simd against scalar, seed ${SEED}`, () => {
  const COUNT = 100_003;

  test.each(PAIRS)('$precision from $from: many updates, the same bits', ({ precision, from }) => {
    const random = randomBits(SEED);
    const shadows = sampleElements(random, precision, COUNT);
    const sources = sampleElements(random, from, COUNT);
    const src = COUNT * 8 + 1;
    const results = MODES.map((mode) => {
      const memory = new WebAssembly.Memory({ initial: 32 });
      const { lerp } = createKernels({ memory, mode });
      writeElements(memory, precision, 0, shadows);
      writeElements(memory, from, src, sources);
      for (let step = 1; step <= 5; step++) lerp[precision][from](0, 0, src, COUNT, 1 / step);
      return readElements(memory, precision, 0, COUNT);
    });
    expect(firstDifference(results[0]!, results[1]!)).toBeUndefined();
  });
});
