import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, type DType } from '../../../src/common/index.js';
import {
  addRun,
  type DigestValue,
  EMPTY_DIGEST,
  mergeDigests,
  sameDigest,
  sumRun,
  unitBytesOf,
} from '../../../src/engine/fold/digest.js';
import { Arena, SKEW } from '../../../src/engine/memory/arena.js';
import type { UnitBytes } from '../../../src/kernels/index.js';
import { randomBits } from '../../kernels/elements.js';
import { MODE } from '../fixtures.js';

const SEED = 20_261_126;
const PAGE_BYTES = 4_096;
const BASES = [0, 1, 2 ** 31 - 5, 2 ** 32 - 100, 2 ** 45 + 2 ** 32 - 1, 2 ** 50];
const WIDTHS: readonly UnitBytes[] = [1, 2, 4];

const arena = new Arena(PAGE_BYTES, MODE);
arena.grow(1);
const page = arena.allocate(SKEW.staging)!;
const random = randomBits(SEED);

function write(unitBytes: UnitBytes, units: readonly number[]): void {
  const view = arena.bytes(page, PAGE_BYTES);
  for (const [j, unit] of units.entries()) {
    for (let byte = 0; byte < unitBytes; byte++) view[j * unitBytes + byte] = unit >>> (8 * byte);
  }
}

/** Of the units [from, to) of the page, whose unit 0 has the position `base`. */
function digestOf(unitBytes: UnitBytes, from: number, to: number, base: number, onto = EMPTY_DIGEST): DigestValue {
  const run = sumRun(arena, unitBytes, page + from * unitBytes, to - from);
  return addRun(onto, run, base + from, to - from);
}

/** The definition, without a bound. */
function defined(units: readonly number[], base: number): DigestValue {
  const total = (terms: readonly bigint[]) => Number(terms.reduce((sum, term) => sum + term, 0n) % 2n ** 32n);
  return {
    sum: total(units.map(mixed)),
    weighted: total(units.map((unit, j) => (BigInt(base) + BigInt(j)) * mixed(unit))),
  };
}

/** What stands for a unit in both sums. */
const mixed = (unit: number): bigint => BigInt(unit) ^ (BigInt(unit) >> 16n);

const randomUnits = (unitBytes: UnitBytes, count: number) =>
  Array.from({ length: count }, () => random() >>> (32 - 8 * unitBytes));

/** [0, count) as runs, some of them empty, in random order. */
function randomCut(count: number): [number, number][] {
  const cuts = Array.from({ length: random() % 12 }, () => random() % (count + 1)).sort((a, b) => a - b);
  const bounds = [0, ...cuts, count];
  const runs = bounds.slice(1).map((to, index): [number, number] => [bounds[index]!, to]);
  return runs
    .map((run) => ({ run, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ run }) => run);
}

describe.each(WIDTHS)(`a digest of units of %d bytes, seed ${SEED}`, (unitBytes) => {
  test('is Σ y and Σ p y, however the space is cut and in whatever order the runs come', () => {
    for (const base of BASES) {
      for (let round = 0; round < 20; round++) {
        const units = randomUnits(unitBytes, 1 + (random() % 700));
        write(unitBytes, units);
        const whole = digestOf(unitBytes, 0, units.length, base);
        expect({ base, whole }).toEqual({ base, whole: defined(units, base) });
        const runs = randomCut(units.length);
        const inTurn = runs.reduce((value, [from, to]) => digestOf(unitBytes, from, to, base, value), EMPTY_DIGEST);
        const perWriter = runs.map(([from, to]) => digestOf(unitBytes, from, to, base)).reduce(mergeDigests);
        expect({ base, runs, inTurn, perWriter }).toEqual({ base, runs, inTurn: whole, perWriter: whole });
      }
    }
  });

  test('is another one when any unit changes', () => {
    const units = randomUnits(unitBytes, 333);
    for (const at of units.keys()) {
      write(unitBytes, units);
      const before = digestOf(unitBytes, 0, units.length, 0);
      for (const bit of [0, random() % (8 * unitBytes), 8 * unitBytes - 1]) {
        write(unitBytes, units.with(at, (units[at]! ^ (1 << bit)) >>> 0));
        expect({ at, bit, same: sameDigest(before, digestOf(unitBytes, 0, units.length, 0)) }).toEqual({
          at,
          bit,
          same: false,
        });
      }
    }
  });

  test('is another one when two unequal units change places, unless 2^32 divides what they differ by times their distance', () => {
    const units = randomUnits(unitBytes, 1_000);
    // Differences of 1 and of 2^24, which a distance of 256 hides.
    units[3] = (units[4]! ^ 1) >>> 0;
    units[300] = 0x0100_0100 & (2 ** (8 * unitBytes) - 1);
    units[556] = 0;
    write(unitBytes, units);
    const before = digestOf(unitBytes, 0, units.length, BASES[4]!);
    const pairs = units.map((_, p): [number, number] => [p, Math.min(p + 1 + (random() % 8), units.length - 1)]);
    for (const [p, q] of [...pairs, [300, 556] as const, [3, 4] as const]) {
      write(unitBytes, units.with(p, units[q]!).with(q, units[p]!));
      const hidden = (BigInt(p - q) * (mixed(units[p]!) - mixed(units[q]!))) % 2n ** 32n === 0n;
      const same = sameDigest(before, digestOf(unitBytes, 0, units.length, BASES[4]!));
      expect({ p, q, same }).toEqual({ p, q, same: hidden });
    }
  });
});

test('zeros add nothing, and every dtype divides into units between its elements', () => {
  write(4, [7, 0, 0, 9]);
  const runs = mergeDigests(digestOf(4, 0, 1, 10), digestOf(4, 3, 4, 10));
  expect(digestOf(4, 0, 4, 10)).toEqual(runs);
  for (const dtype of Object.keys(DTYPE_BYTES) as DType[]) {
    expect(unitBytesOf(dtype)).toBe(Math.min(DTYPE_BYTES[dtype], 4));
  }
});
