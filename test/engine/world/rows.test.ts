import { describe, expect, test } from 'vitest';
import { BoxList, rowOffset, rowsOf } from '../../../src/engine/world/index.js';
import { randomBits } from '../../kernels/elements.js';
import { box, elementsOf, randomBox } from './naive.js';

const SEED = 20_261_127;

describe('the rows of a box', () => {
  test.each<[string, number[], number[], number[], ReturnType<typeof rowsOf>]>([
    ['a scalar', [], [], [], { start: 0, rowLength: 1, rowCount: 1, extents: [], strides: [] }],
    ['a whole tensor', [3, 4], [], [], { start: 0, rowLength: 12, rowCount: 1, extents: [], strides: [] }],
    ['all of it', [3, 4], [0, 0], [3, 4], { start: 0, rowLength: 12, rowCount: 1, extents: [], strides: [] }],
    ['whole rows', [5, 4], [2, 0], [2, 4], { start: 8, rowLength: 8, rowCount: 1, extents: [], strides: [] }],
    ['a part of one row', [5, 4], [2, 1], [1, 2], { start: 9, rowLength: 2, rowCount: 1, extents: [], strides: [] }],
    ['columns', [5, 4], [1, 1], [3, 2], { start: 5, rowLength: 2, rowCount: 3, extents: [3], strides: [4] }],
    [
      'two dimensions of rows that run on are one',
      [2, 3, 4],
      [0, 0, 1],
      [2, 3, 2],
      { start: 1, rowLength: 2, rowCount: 6, extents: [6], strides: [4] },
    ],
    [
      'two that do not are two',
      [4, 3, 5],
      [1, 1, 2],
      [2, 2, 2],
      { start: 22, rowLength: 2, rowCount: 4, extents: [2, 2], strides: [15, 5] },
    ],
    [
      'a dimension of one row is none',
      [4, 3, 5],
      [1, 1, 2],
      [2, 1, 2],
      { start: 22, rowLength: 2, rowCount: 2, extents: [2], strides: [15] },
    ],
  ])('%s', (_, shape, offset, extent, rows) => {
    expect(rowsOf(shape, BoxList.of([box([1], [1]), box(offset, extent)]), 1)).toEqual(rows);
  });

  test(`hold its elements in their order, and are as long as they can be, seed ${SEED}`, () => {
    const random = randomBits(SEED);
    let severalRows = 0;
    for (let round = 0; round < 3_000; round++) {
      const shape = Array.from({ length: random() % 5 }, () => 1 + (random() % 6));
      const { offset, extent } = randomBox(shape, random);
      const elements = elementsOf(shape, { offset, extent });
      if (elements.length === 0) continue;
      const rows = rowsOf(shape, BoxList.of([box(offset, extent)]), 0);
      const starts = Array.from({ length: rows.rowCount }, (_, row) => rows.start + rowOffset(rows, row));
      const found = starts.flatMap((start) => Array.from({ length: rows.rowLength }, (_, i) => start + i));
      expect({ shape, offset, extent, found }).toEqual({ shape, offset, extent, found: elements });
      for (const [row, start] of starts.slice(1).entries()) expect(start).not.toBe(starts[row]! + rows.rowLength);
      if (rows.extents.length > 1) severalRows += 1;
    }
    expect(severalRows).toBeGreaterThan(20);
  });
});
