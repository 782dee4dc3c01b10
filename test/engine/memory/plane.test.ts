import { describe, expect, test } from 'vitest';
import type { Precision } from '../../../src/common/index.js';
import { homeOf, homeOfPage, type Plane, PlaneShape, pageBytesFor } from '../../../src/engine/memory/plane.js';
import { MIB } from '../fixtures.js';

describe('page sizes', () => {
  test.each([
    [0, 0, 4_096],
    [512, 0, 4_096],
    [513, 0, 8_192],
    [0, 4_097, 8_192],
    [131_072, 0, MIB],
    [10 ** 9, 10 ** 9, MIB],
  ])('%i averaged elements and %i copied bytes: pages of %i bytes', (averaged, copied, bytes) => {
    expect(pageBytesFor(averaged, copied)).toBe(bytes);
  });
});

/** The planes of a run: one per average, then the copied one. */
function createPlanes(
  precisions: Precision[],
  length: number,
  copiedBytes: number,
  pageBytes: number,
  arenaBytesMax?: number,
): Plane[] {
  const shape = new PlaneShape(precisions, pageBytes, arenaBytesMax);
  return [...precisions.map((precision) => shape.plane(precision, length)), shape.copiedPlane(copiedBytes)];
}

describe('planes', () => {
  test('one per average in its precision, then the copied bytes', () => {
    const planes = createPlanes(['F32', 'F64'], 1_025, 4_097, 4_096);
    expect(
      planes.map(({ dtype, elementBytes, pageElements, pageCount }) => [dtype, elementBytes, pageElements, pageCount]),
    ).toEqual([
      ['F32', 4, 1_024, 2],
      ['F64', 8, 512, 3],
      [undefined, 1, 4_096, 2],
    ]);
  });

  test('empty spaces have no pages', () => {
    expect(createPlanes(['F32'], 0, 0, 4_096).map(({ pageCount }) => pageCount)).toEqual([0, 0]);
  });

  test.each([1, 2, 16])('%i F64 averages of an arena, their copies and a step in flight fit into it', (count) => {
    const planes = createPlanes(new Array<'F64'>(count).fill('F64'), 10 ** 10, 0, MIB);
    const { homeElements } = planes[0]!;
    const bytes = homeElements * (2 * count * 8 + 8);
    expect(bytes).toBeLessThanOrEqual(2 ** 32);
    expect(bytes).toBeGreaterThan(2 ** 31);
  });

  test('all planes of one element live in one arena, whichever the precision', () => {
    const planes = createPlanes(['F32', 'F64'], 10 ** 10, 0, MIB);
    for (const flat of [0, 10 ** 8, 3 * 10 ** 8, 10 ** 10 - 1]) {
      expect(homeOf(planes[0]!, flat)).toBe(homeOf(planes[1]!, flat));
    }
    const [narrow, wide] = [planes[0]!, planes[1]!];
    expect(homeOfPage(narrow, 1_000)).toBe(homeOfPage(wide, 2_000));
    expect(homeOfPage(narrow, narrow.pageCount - 1)).toBeGreaterThan(10);
  });

  test('an arena that holds no page of each plane is our own mistake', () => {
    expect(() => createPlanes(['F64'], 10, 0, MIB, MIB)).toThrow('broken invariant');
  });
});
