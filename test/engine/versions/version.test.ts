import { describe, expect, test } from 'vitest';
import { NO_PROGRESS } from '../../../src/engine/averages/index.js';
import { SKEW } from '../../../src/engine/memory/arena.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import { type Page, PagePool } from '../../../src/engine/memory/page-pool.js';
import { PlaneShape } from '../../../src/engine/memory/plane.js';
import { Version } from '../../../src/engine/versions/version.js';
import { MIB, MODE, mean } from '../fixtures.js';

function setUp(): { pool: PagePool; pages: Page[]; makeVersion: (id: number, pages: Page[]) => Version } {
  const pool = new PagePool(4_096, new Ledger(MIB), MODE, 'run "r"');
  const pages = pool.allocate(
    Array.from({ length: 3 }, () => ({ home: 0, skew: SKEW.shadow })),
    'shadows',
  );
  const makeVersion = (id: number, own: Page[]): Version => {
    const shape = new PlaneShape(['F32'], 4_096);
    const spec = mean('a');
    const state = { ...NO_PROGRESS, movement: undefined, addedAtStep: undefined };
    return new Version(pool, id, {
      step: id,
      generation: 1,
      shadows: [{ spec, state, plane: shape.plane('F32', 1), table: own.slice(0, 1) }],
      copied: { plane: shape.copiedPlane(8_192), table: own.slice(1) },
      snapshots: [],
    });
  };
  return { pool, pages, makeVersion };
}

describe('a version', () => {
  test('holds its pages while it is the current one', () => {
    const { pool, pages, makeVersion } = setUp();
    const version = makeVersion(1, pages);
    expect(pages.map(({ refs }) => refs)).toEqual([1, 1, 1]);
    version.pin().release();
    expect(pool.usedPages).toBe(3);
    version.retire();
    expect(pool.usedPages).toBe(0);
  });

  test('that is retired goes with its last reader', () => {
    const { pool, pages, makeVersion } = setUp();
    const version = makeVersion(1, pages);
    const readers = [version.pin(), version.pin()];
    version.retire();
    readers[0]!.release();
    expect({ isPinned: version.isPinned, usedPages: pool.usedPages }).toEqual({ isPinned: true, usedPages: 3 });
    readers[1]!.release();
    expect({ isPinned: version.isPinned, usedPages: pool.usedPages }).toEqual({ isPinned: false, usedPages: 0 });
  });

  test('leaves the pages that another version shares', () => {
    const { pool, pages, makeVersion } = setUp();
    const old = makeVersion(1, pages);
    const next = makeVersion(2, pages.slice(1));
    old.retire();
    expect(pages.map(({ refs }) => refs)).toEqual([0, 1, 1]);
    expect(pool.usedPages).toBe(2);
    next.retire();
    expect(pool.usedPages).toBe(0);
  });

  test('a reader that releases twice, or after it was evicted, releases once', () => {
    const { pool, pages, makeVersion } = setUp();
    const version = makeVersion(1, pages);
    const [first, second] = [version.pin(), version.pin()];
    first.release();
    first.release();
    expect(version.isPinned).toBe(true);
    version.evict('MEMORY');
    second.release();
    expect({ first: first.evicted, second: second.evicted, isPinned: version.isPinned }).toEqual({
      first: undefined,
      second: 'MEMORY',
      isPinned: false,
    });
    version.retire();
    version.retire();
    expect(pool.usedPages).toBe(0);
  });
});
