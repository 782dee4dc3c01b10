import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES, type FloatDType, PRECISIONS, type Precision } from '../../../src/common/index.js';
import { type FoldTarget, foldStep } from '../../../src/engine/fold/fold.js';
import { type Segment, Segments } from '../../../src/engine/layout/segments.js';
import { SKEW, SLOTS_ADDRESS } from '../../../src/engine/memory/arena.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import { type Page, PagePool } from '../../../src/engine/memory/page-pool.js';
import type { Plane } from '../../../src/engine/memory/plane.js';
import { firstDifference, randomBits, sampleElements } from '../../kernels/elements.js';
import { HALF_VALUES, lerped, nearestCode, rounded } from '../../kernels/oracle.js';
import { MIB, MODE } from '../fixtures.js';

const SEED = 20_250_614;
const PAGE_BYTES = 4_096;
const COUNT = 1_500;

/** Arenas of eight slots: what a run of more than 4 GiB looks like, in small. */
function makePool(): PagePool {
  return new PagePool(PAGE_BYTES, new Ledger(4 * MIB), MODE, 'run "r"', SLOTS_ADDRESS + 65_536);
}

function planeOf(precision: Precision | undefined): Plane {
  const elementBytes = precision === undefined ? 1 : DTYPE_BYTES[precision];
  const pageElements = PAGE_BYTES / elementBytes;
  return {
    dtype: precision,
    elementBytes,
    pageElements,
    pageCount: Math.ceil(COUNT / pageElements),
    homeElements: PAGE_BYTES,
  };
}

function take(pool: PagePool, count: number, home: number, skew: number): Page[] {
  return pool.allocate(
    Array.from({ length: count }, () => ({ home, skew })),
    'test',
  );
}

/** Numbers to and from pages, element by element. */
function store(pages: readonly Page[], dtype: FloatDType, values: Float64Array): void {
  values.forEach((value, i) => {
    const at = i * DTYPE_BYTES[dtype];
    const page = pages[Math.floor(at / PAGE_BYTES)]!;
    const { buffer, byteOffset, byteLength } = page.arena.bytes(page.address + (at % PAGE_BYTES), DTYPE_BYTES[dtype]);
    const view = new DataView(buffer, byteOffset, byteLength);
    if (dtype === 'F64') view.setFloat64(0, value, true);
    else if (dtype === 'F32') view.setFloat32(0, value, true);
    else view.setUint16(0, nearestCode(value, dtype), true);
  });
}

function load(pages: readonly Page[], dtype: FloatDType, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    const at = i * DTYPE_BYTES[dtype];
    const page = pages[Math.floor(at / PAGE_BYTES)]!;
    const { buffer, byteOffset, byteLength } = page.arena.bytes(page.address + (at % PAGE_BYTES), DTYPE_BYTES[dtype]);
    const view = new DataView(buffer, byteOffset, byteLength);
    if (dtype === 'F64') return view.getFloat64(0, true);
    return dtype === 'F32' ? view.getFloat32(0, true) : HALF_VALUES[dtype][view.getUint16(0, true)]!;
  });
}

function segmentsOf(...list: readonly Segment[]): Segments {
  const segments = new Segments();
  for (const segment of list) segments.append(segment);
  return segments;
}

const homes = [
  { where: 'one arena', source: 0, base: 0, target: 0 },
  { where: 'the source elsewhere', source: 1, base: 0, target: 0 },
  { where: 'the base elsewhere', source: 0, base: 1, target: 0 },
  { where: 'source and base elsewhere', source: 1, base: 1, target: 0 },
  { where: 'three arenas', source: 1, base: 2, target: 0 },
];
const pairs = PRECISIONS.flatMap((precision) => FLOAT_DTYPES.map((dtype) => ({ precision, dtype })));

describe.each(homes)(`a fold with $where, ${MODE}, seed ${SEED}`, ({ source, base, target }) => {
  test.each(pairs)('$precision from $dtype: lerp, assignment and hold, the base as it was', ({ precision, dtype }) => {
    const random = randomBits(SEED);
    for (const weight of [0.25, 1 / 3, 1, 0]) {
      const pool = makePool();
      const plane = planeOf(precision);
      const staging = take(pool, Math.ceil((COUNT * DTYPE_BYTES[dtype]) / PAGE_BYTES), source, SKEW.staging);
      const basePages = take(pool, plane.pageCount, base, SKEW.shadow);
      const targetPages = weight === 0 ? basePages : take(pool, plane.pageCount, target, SKEW.shadowCopy);
      const [shadows, sources] = [sampleElements(random, precision, COUNT), sampleElements(random, dtype, COUNT)];
      store(basePages, precision, shadows);
      store(staging, dtype, sources);
      const segments = segmentsOf({ stepOffset: 0, flat: 0, count: COUNT, dtype, averages: -1 });
      const targets: FoldTarget[] = [{ plane, base: basePages, target: targetPages, weight, meter: undefined }];
      for (const _ of foldStep(segments, staging, PAGE_BYTES, targets));
      const expected = shadows.map((s, i) => {
        if (weight === 0) return s;
        return weight === 1 ? rounded(sources[i]!, precision) : lerped(s, sources[i]!, weight, precision);
      });
      expect({ weight, difference: firstDifference(load(targetPages, precision, COUNT), expected) }).toEqual({
        weight,
      });
      expect(firstDifference(load(basePages, precision, COUNT), shadows)).toBeUndefined();
    }
  });

  test('copied bytes', () => {
    const pool = makePool();
    const plane = { ...planeOf(undefined), pageCount: 2 };
    const staging = take(pool, 2, source, SKEW.staging);
    const basePages = take(pool, 2, base, SKEW.shadow);
    const targetPages = take(pool, 2, target, SKEW.shadowCopy);
    staging.forEach((page, p) => {
      page.arena.bytes(page.address, PAGE_BYTES).forEach((_, i, bytes) => {
        bytes[i] = p * 31 + i;
      });
    });
    const segments = segmentsOf({ stepOffset: 64, flat: 3, count: 6_000, dtype: undefined, averages: -1 });
    for (const _ of foldStep(segments, staging, PAGE_BYTES, [
      { plane, base: basePages, target: targetPages, weight: 1, meter: undefined },
    ]));
    const bytesOf = (pages: Page[]): Buffer => {
      return Buffer.concat(pages.map(({ arena, address }) => Buffer.from(arena.bytes(address, PAGE_BYTES))));
    };
    expect(bytesOf(targetPages).subarray(3, 6_003)).toEqual(bytesOf(staging).subarray(64, 6_064));
  });
});

test('a fold yields as often as it is told', () => {
  const pool = makePool();
  const plane = planeOf('F32');
  const staging = take(pool, 2, 0, SKEW.staging);
  const pages = take(pool, plane.pageCount, 0, SKEW.shadow);
  const segments = segmentsOf(
    ...Array.from({ length: 10 }, (_, i) => {
      return { stepOffset: i * 256, flat: i * 32, count: 32, dtype: 'F32', averages: -1 } as const;
    }),
  );
  const targets: FoldTarget[] = [{ plane, base: pages, target: pages, weight: 0.5, meter: undefined }];
  expect([...foldStep(segments, staging, PAGE_BYTES, targets, 32)]).toHaveLength(10);
  expect([...foldStep(segments, staging, PAGE_BYTES, targets, 100)]).toHaveLength(2);
  expect([...foldStep(segments, staging, PAGE_BYTES, targets)]).toHaveLength(0);
});
