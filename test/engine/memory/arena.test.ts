import { describe, expect, test } from 'vitest';
import { Arena, SCRATCH_BYTES, SKEW, SLOTS_ADDRESS } from '../../../src/engine/memory/arena.js';
import { MODE } from '../fixtures.js';

const PAGE_BYTES = 4_096;

describe('an arena', () => {
  test('gives the slots it was grown by, in rising addresses, then none', () => {
    const arena = new Arena(PAGE_BYTES, MODE);
    expect(arena.allocate(SKEW.shadow)).toBeUndefined();
    arena.grow(2);
    expect(arena.freeSlotCount).toBe(2);
    expect([arena.allocate(SKEW.shadow), arena.allocate(SKEW.staging), arena.allocate(SKEW.shadow)]).toEqual([
      SLOTS_ADDRESS,
      SLOTS_ADDRESS + arena.slotBytes + SKEW.staging,
      undefined,
    ]);
  });

  test('takes a page back with any skew and gives it with another', () => {
    const arena = new Arena(PAGE_BYTES, MODE);
    arena.grow(1);
    arena.free(arena.allocate(SKEW.staging)!);
    expect(arena.allocate(SKEW.shadowCopy)).toBe(SLOTS_ADDRESS + SKEW.shadowCopy);
  });

  test('keeps its contents when it grows, and new pages are zero', () => {
    const arena = new Arena(PAGE_BYTES, MODE);
    arena.grow(1);
    const first = arena.allocate(SKEW.shadow)!;
    arena.bytes(first, PAGE_BYTES).fill(7);
    arena.grow(100);
    expect(arena.slotCount).toBe(101);
    expect(arena.bytes(first, PAGE_BYTES).every((byte) => byte === 7)).toBe(true);
    for (let address = arena.allocate(SKEW.staging); address !== undefined; address = arena.allocate(SKEW.staging)) {
      expect(arena.bytes(address, PAGE_BYTES).every((byte) => byte === 0)).toBe(true);
    }
  });

  test('pages of every skew lie apart and off the scratch', () => {
    const arena = new Arena(PAGE_BYTES, MODE);
    arena.grow(3);
    const pages = Object.values(SKEW).map((skew) => arena.allocate(skew)!);
    pages.forEach((address, index) => {
      arena.bytes(address, PAGE_BYTES).fill(index + 1);
    });
    pages.forEach((address, index) => {
      expect(new Set(arena.bytes(address, PAGE_BYTES))).toEqual(new Set([index + 1]));
    });
    expect(arena.bytes(0, SCRATCH_BYTES).every((byte) => byte === 0)).toBe(true);
  });

  test('has no more slots than its bytes', () => {
    const arena = new Arena(PAGE_BYTES, MODE, SLOTS_ADDRESS + 65_536);
    expect(arena.slotCountMax).toBe(8);
    arena.grow(8);
    expect(() => arena.grow(1)).toThrow(RangeError);
    expect(new Arena(1 << 20, MODE).slotCountMax).toBe(4_079);
  });

  test('copies inside itself', () => {
    const arena = new Arena(PAGE_BYTES, MODE);
    arena.grow(2);
    const [from, to] = [arena.allocate(SKEW.staging)!, arena.allocate(SKEW.shadow)!];
    arena.bytes(from, 5).set([1, 2, 3, 4, 5]);
    arena.copyWithin(to + 1, from, 4);
    expect([...arena.bytes(to, 6)]).toEqual([0, 1, 2, 3, 4, 0]);
  });
});

test('pages of one kernel call never have addresses that are equal modulo 4096', () => {
  // Slots are multiples of 4096 apart, so the skews decide.
  expect(SCRATCH_BYTES % 4_096).toBe(0);
  expect(new Arena(PAGE_BYTES, MODE).slotBytes % 4_096).toBe(0);
  const apart = Object.values(SKEW).flatMap((a) => Object.values(SKEW).map((b) => Math.abs(a - b)));
  expect(apart.filter((bytes) => bytes > 0 && bytes < 512)).toEqual([]);
  for (const skew of Object.values(SKEW)) expect(skew % 64).toBe(0);
});
