import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { AVERAGE_DEFAULTS } from '../../../src/common/index.js';
import type { AverageSpec } from '../../../src/engine/averages/index.js';
import type { TensorSpec } from '../../../src/engine/layout/tensor-spec.js';
import { Arena, SKEW, SLOTS_ADDRESS } from '../../../src/engine/memory/arena.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import { PagePool, type PageWant } from '../../../src/engine/memory/page-pool.js';
import { RunTable } from '../../../src/engine/run-table.js';
import { MIB, MODE, refusal } from '../fixtures.js';

const PAGE_BYTES = 4_096;
const SLOT_BYTES = 8_192;
/** Eight slots. */
const SMALL_ARENA_BYTES = SLOTS_ADDRESS + 65_536;

function makePool(budgetBytes = MIB, arenaBytesMax?: number): { pool: PagePool; ledger: Ledger } {
  const ledger = new Ledger(budgetBytes);
  return { pool: new PagePool(PAGE_BYTES, ledger, MODE, 'run "r"', arenaBytesMax), ledger };
}

function wants(count: number, home = 0): PageWant[] {
  return Array.from({ length: count }, () => ({ home, skew: SKEW.shadow }));
}

describe('a page pool', () => {
  test('reserves what it hands out and no more', () => {
    const { pool, ledger } = makePool();
    const pages = pool.allocate(wants(5), 'shadows');
    expect(new Set(pages.map(({ address }) => address)).size).toBe(5);
    expect(ledger.usedBytes).toBe(5 * SLOT_BYTES);
    expect(pool).toMatchObject({ reservedBytes: 5 * SLOT_BYTES, usedPages: 5, freeBytes: 0 });
  });

  test('hands freed pages out again before it grows', () => {
    const { pool, ledger } = makePool();
    const pages = pool.allocate(wants(4), 'shadows');
    for (const page of pages.slice(0, 3)) pool.free(page);
    expect(pool).toMatchObject({ usedPages: 1, freeBytes: 3 * PAGE_BYTES });
    pool.allocate(wants(4), 'staging');
    expect(ledger.usedBytes).toBe(5 * SLOT_BYTES);
  });

  test('refuses all or nothing, and says for what', () => {
    const { pool, ledger } = makePool(10 * SLOT_BYTES);
    pool.allocate(wants(6), 'shadows');
    expect(() => pool.allocate(wants(5), 'one step in flight')).toThrow(
      expect.toSatisfy(refusal('MEMORY_EXHAUSTED', /^one step in flight of run "r" needs 40960 bytes, 32768 of/)),
    );
    expect(pool).toMatchObject({ usedPages: 6, freeBytes: 0 });
    expect(ledger.usedBytes).toBe(6 * SLOT_BYTES);
    expect(pool.allocate(wants(4), 'staging')).toHaveLength(4);
  });

  test('what is wanted piece by piece is made at once', () => {
    const { pool, ledger } = makePool();
    const grow = vi.spyOn(Arena.prototype, 'grow');
    onTestFinished(() => grow.mockRestore());
    pool.makeFree(wants(6), 'shadows');
    expect(ledger.usedBytes).toBe(6 * SLOT_BYTES);
    expect(pool.usedPages).toBe(0);
    for (let piece = 0; piece < 3; piece++) pool.allocate(wants(2), 'shadows');
    expect(pool).toMatchObject({ usedPages: 6, freeBytes: 0 });
    expect(grow).toHaveBeenCalledOnce();
  });

  test.each([1, 2, 16])('the shadows of a run with %i averages are one growth', (count) => {
    const grow = vi.spyOn(Arena.prototype, 'grow');
    onTestFinished(() => grow.mockRestore());
    const averages = Array.from({ length: count }, (_, index): AverageSpec => {
      return { ...AVERAGE_DEFAULTS, name: `a${index}`, schedule: { kind: 'mean' } };
    });
    const tensors: TensorSpec[] = [
      { name: 'w', dtype: 'F32', shape: [4_096], policy: 'AVERAGE' },
      { name: 'n', dtype: 'I64', shape: [512], policy: 'COPY' },
    ];
    const spec = { name: 'r', tensors, averages, nonFinite: undefined, snapshots: undefined, retain: undefined };
    const { run } = new RunTable(64 * MIB, MODE).open(spec);
    expect(run.memory.shadowBytes).toBeGreaterThan(count * 4_096 * 4);
    expect(grow).toHaveBeenCalledOnce();
  });

  test('gives everything back at its end, once', () => {
    const { pool, ledger } = makePool();
    pool.allocate(wants(5), 'shadows');
    pool.close();
    pool.close();
    expect(ledger.usedBytes).toBe(0);
  });

  test('a page that a table names is not freed', () => {
    const { pool } = makePool();
    const [page] = pool.allocate(wants(1), 'shadows');
    page!.refs = 1;
    expect(() => pool.free(page!)).toThrow('broken invariant');
  });
});

describe('a page pool of several arenas', () => {
  test('puts each page where it is wanted', () => {
    const { pool, ledger } = makePool(MIB, SMALL_ARENA_BYTES);
    const pages = pool.allocate([...wants(3, 0), ...wants(3, 2), ...wants(2, 0)], 'shadows');
    const arenas = pages.map(({ arena }) => arena);
    expect(new Set(arenas).size).toBe(2);
    expect([0, 1, 2, 6, 7].every((index) => arenas[index] === arenas[0])).toBe(true);
    expect([3, 4, 5].every((index) => arenas[index] === arenas[3])).toBe(true);
    expect(ledger.usedBytes).toBe(8 * SLOT_BYTES);
  });

  test('spills into other arenas what does not fit into the home', () => {
    const { pool, ledger } = makePool(MIB, SMALL_ARENA_BYTES);
    const pages = pool.allocate(wants(20), 'shadows');
    const arenas = [...new Set(pages.map(({ arena }) => arena))];
    expect(arenas.map(({ slotCount }) => slotCount)).toEqual([8, 8, 4]);
    expect(new Set(pages.map(({ arena, address }) => `${arenas.indexOf(arena)} ${address}`)).size).toBe(20);
    expect(ledger.usedBytes).toBe(20 * SLOT_BYTES);
  });

  test('takes a free page elsewhere before it grows', () => {
    const { pool, ledger } = makePool(MIB, SMALL_ARENA_BYTES);
    const [page] = pool.allocate(wants(1, 1), 'shadows');
    pool.free(page!);
    const [other] = pool.allocate(wants(1, 0), 'shadows');
    expect(other!.arena).toBe(page!.arena);
    expect(ledger.usedBytes).toBe(SLOT_BYTES);
  });
});
