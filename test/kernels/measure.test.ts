import { describe, expect, test } from 'vitest';
import { FLOAT_DTYPES, PRECISIONS } from '../../src/common/index.js';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';
import { firstDifference, randomBits, readElements, sampleElements, writeElements, writesOnly } from './elements.js';
import { lerped, rounded } from './oracle.js';

const SEED = 20_261_124;
const COUNT_MAX = 40;
const [OUT, BASE, SRC] = [512, 1_024, 4_096];
const WEIGHTS = [0, 0.5, 0.001, 1 / 3, 1];
const MODES: readonly KernelMode[] = ['simd', 'scalar'];
const PAIRS = PRECISIONS.flatMap((precision) => FLOAT_DTYPES.map((from) => ({ precision, from })));

describe.each(MODES)(`measure, %s, seed ${SEED}`, (mode) => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { measure } = createKernels({ memory, mode });

  test.each(PAIRS)('$precision from $from: the four sums, in the order of abi.ts', ({ precision, from }) => {
    const random = randomBits(SEED);
    for (let count = 0; count <= COUNT_MAX; count++) {
      const [base, src] = [BASE + (random() % 16), SRC + (random() % 16)];
      const weight = WEIGHTS[count % WEIGHTS.length]!;
      const [shadows, sources] = [sampleElements(random, precision, count), sampleElements(random, from, count)];
      writeElements(memory, precision, base, shadows);
      writeElements(memory, from, src, sources);
      const contained = writesOnly(memory, OUT, 32, () => measure[precision][from](OUT, base, src, count, weight));

      const thetas = sources.map((source) => rounded(source, precision));
      const sum = (term: (i: number) => number): number => {
        const lanes = [0, 0];
        for (let i = 0; i < count; i++) lanes[i % 2]! += term(i);
        return lanes[0]! + lanes[1]!;
      };
      const expected = Float64Array.of(
        sum((i) => (thetas[i] === shadows[i] ? 0 : (thetas[i]! - shadows[i]!) * (thetas[i]! - shadows[i]!))),
        sum((i) => (Math.abs(shadows[i]!) === Number.POSITIVE_INFINITY ? 0 : shadows[i]! * shadows[i]!)),
        shadows.filter((s, i) => lerped(s, sources[i]!, weight, precision) !== s).length,
        shadows.filter((s, i) => s !== 0 || thetas[i] !== 0).length,
      );
      const difference = firstDifference(readElements(memory, 'F64', OUT, 4), expected);
      expect({ count, weight, difference, contained }).toEqual({ count, weight, contained: true });
    }
  });
});
