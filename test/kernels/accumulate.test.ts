import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES } from '../../src/common/index.js';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';
import { firstDifference, randomBits, readElements, sampleElements, writeElements, writesOnly } from './elements.js';

const SEED = 20_261_123;
const COUNT_MAX = 40;
const SUMS = 1_024;
const SRC = 4_096;
const WEIGHTS = [0, 1, -0.25, 1 / 3, 1e-300, -1_234.5];
const MODES: readonly KernelMode[] = ['simd', 'scalar'];

describe.each(MODES)(`accumulate, %s, seed ${SEED}`, (mode) => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { accumulate } = createKernels({ memory, mode });

  test.each(FLOAT_DTYPES)('%s: product and sum are rounded each, in F64, at any address', (dtype) => {
    const random = randomBits(SEED);
    for (let count = 0; count <= COUNT_MAX; count++) {
      const [sums, src] = [SUMS + (random() % 16), SRC + (random() % 16)];
      const weight = WEIGHTS[count % WEIGHTS.length]!;
      const [before, sources] = [sampleElements(random, 'F64', count), sampleElements(random, dtype, count)];
      writeElements(memory, 'F64', sums, before);
      writeElements(memory, dtype, src, sources);
      const contained = writesOnly(memory, sums, count * DTYPE_BYTES.F64, () =>
        accumulate[dtype](sums, src, count, weight),
      );
      const difference = firstDifference(
        readElements(memory, 'F64', sums, count),
        before.map((sum, i) => sum + weight * sources[i]!),
      );
      expect({ count, difference, contained }).toEqual({ count, contained: true });
    }
  });
});
