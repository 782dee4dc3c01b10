import { describe, expect, test } from 'vitest';
import { UNIT_BYTES, type UnitBytes } from '../../src/kernels/abi.js';
import { createKernels, type KernelMode } from '../../src/kernels/index.js';
import { randomBits, readElements, writesOnly } from './elements.js';

const SEED = 20_261_125;
const COUNT_MAX = 200;
const LARGE_COUNT = 100_003;
const [OUT, SRC] = [512, 1_024];
const MODES: readonly KernelMode[] = ['simd', 'scalar'];

/** The sums of abi.ts, weight by weight and without a bound. */
function expectedSums(units: readonly number[]): number[] {
  let sum = 0n;
  let falling = 0n;
  units.forEach((unit, j) => {
    const y = BigInt(unit) ^ (BigInt(unit) >> 16n);
    sum += y;
    falling += BigInt(units.length - j) * y;
  });
  return [sum, falling].map((value) => Number(value % 2n ** 32n));
}

function writeUnits(memory: WebAssembly.Memory, unitBytes: UnitBytes, address: number, units: readonly number[]) {
  const bytes = Buffer.from(memory.buffer, address, units.length * unitBytes);
  for (const [j, unit] of units.entries()) bytes.writeUIntLE(unit, j * unitBytes, unitBytes);
}

describe.each(MODES)(`digest, %s, seed ${SEED}`, (mode) => {
  const memory = new WebAssembly.Memory({ initial: 8 });
  const { digest } = createKernels({ memory, mode });
  const sums = () => [...readElements(memory, 'F64', OUT, 2)];

  test('known answers', () => {
    writeUnits(memory, 1, SRC, [1, 2, 3, 4, 5, 6, 7, 8]);
    digest[1](OUT, SRC, 4);
    expect(sums()).toEqual([10, 4 * 1 + 3 * 2 + 2 * 3 + 1 * 4]);
    digest[2](OUT, SRC, 4);
    expect(sums()).toEqual([0x1410, 4 * 0x0201 + 3 * 0x0403 + 2 * 0x0605 + 0x0807]);
    digest[4](OUT, SRC, 2);
    expect(sums()).toEqual([0x0c0a1404, 2 * 0x04030602 + 0x08070e02]);
    digest[4](OUT, SRC, 0);
    expect(sums()).toEqual([0, 0]);
    // −65,536 each: the sums are those of their count, below zero.
    writeUnits(memory, 4, SRC, new Array(9).fill(0xffff_ffff));
    digest[4](OUT, SRC, 9);
    expect(sums()).toEqual([2 ** 32 - 9 * 65_536, 2 ** 32 - 45 * 65_536]);
  });

  test.each(UNIT_BYTES)('units of %d: both sums, of any length at any address, written nowhere else', (unitBytes) => {
    const random = randomBits(SEED);
    for (let count = 0; count <= COUNT_MAX; count++) {
      const src = SRC + (random() % 16);
      const units = Array.from({ length: count }, () => random() >>> (32 - 8 * unitBytes));
      // Around it lies what must not be seen.
      new Uint8Array(memory.buffer).fill(0xff);
      writeUnits(memory, unitBytes, src, units);
      const contained = writesOnly(memory, OUT, 16, () => digest[unitBytes](OUT, src, count));
      expect({ count, sums: sums(), contained }).toEqual({ count, sums: expectedSums(units), contained: true });
    }
  });

  test.each(UNIT_BYTES)('units of %d: up to the last byte of the memory, and none behind it', (unitBytes) => {
    for (const count of [1, 7, 8, 9, 64]) {
      const units = new Array(count).fill(3);
      const src = memory.buffer.byteLength - count * unitBytes;
      writeUnits(memory, unitBytes, src, units);
      digest[unitBytes](OUT, src, count);
      expect({ count, sums: sums() }).toEqual({ count, sums: expectedSums(units) });
    }
  });

  test.each(UNIT_BYTES)('units of %d: long runs wrap exactly', (unitBytes) => {
    const random = randomBits(SEED);
    const largest = 2 ** (8 * unitBytes) - 1;
    const runs = [() => random() >>> (32 - 8 * unitBytes), () => largest];
    for (const unit of runs) {
      const units = Array.from({ length: LARGE_COUNT }, unit);
      writeUnits(memory, unitBytes, SRC + unitBytes, units);
      digest[unitBytes](OUT, SRC + unitBytes, LARGE_COUNT);
      expect(sums()).toEqual(expectedSums(units));
    }
  });
});
