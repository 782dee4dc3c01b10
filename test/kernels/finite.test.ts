import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES } from '../../src/common/index.js';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';
import { randomBits, readElements, writeElements } from './elements.js';

const SEED = 20_261_122;
const COUNT_MAX = 260;
const SRC = 1_024;
const MODES: readonly KernelMode[] = ['simd', 'scalar'];

describe.each(MODES)(`finite, %s, seed ${SEED}`, (mode) => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { finite } = createKernels({ memory, mode });

  test.each(FLOAT_DTYPES)('%s: one infinity or NaN anywhere, at any address, and only inside of the range', (dtype) => {
    const random = randomBits(SEED);
    for (let count = 0; count <= COUNT_MAX; count++) {
      const src = SRC + (random() % 16);
      // Around it lies what must not be seen.
      new Uint8Array(memory.buffer).fill(0xff);
      writeElements(memory, dtype, src, new Float64Array(count).fill(1.5));
      expect({ count, finite: finite[dtype](src, count) }).toEqual({ count, finite: 1 });
      if (count === 0) continue;
      const at = random() % count;
      for (const wild of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]) {
        writeElements(memory, dtype, src + at * DTYPE_BYTES[dtype], Float64Array.of(wild));
        expect({ count, at, wild, finite: finite[dtype](src, count) }).toEqual({ count, at, wild, finite: 0 });
      }
    }
  });

  test.each(FLOAT_DTYPES)('%s: every code or a sample of them is told as JavaScript tells it', (dtype) => {
    const random = randomBits(SEED);
    const bytes = DTYPE_BYTES[dtype];
    for (let code = 0; code < 65_536; code++) {
      for (let at = 0; at < bytes - 2; at++) new Uint8Array(memory.buffer)[SRC + at] = random();
      new DataView(memory.buffer).setUint16(SRC + bytes - 2, code, true);
      const [value] = readElements(memory, dtype, SRC, 1);
      expect(finite[dtype](SRC, 1)).toBe(Number.isFinite(value) ? 1 : 0);
    }
  });
});
