import { expect, test } from 'vitest';
import { ShadowkeepError } from '../../../src/common/index.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';

test('what fits is reserved to the last byte and can be given back', () => {
  const ledger = new Ledger(100);
  ledger.reserve(60, 'a');
  ledger.reserve(40, 'b');
  expect(ledger).toMatchObject({ usedBytes: 100, freeBytes: 0 });
  ledger.release(60);
  expect(ledger).toMatchObject({ usedBytes: 40, freeBytes: 60 });
});

test('what does not fit is refused with the three numbers, and nothing is taken', () => {
  const ledger = new Ledger(100);
  ledger.reserve(60, 'a');
  try {
    ledger.reserve(41, 'a second run');
    expect.fail('it was not refused');
  } catch (error) {
    expect(error).toBeInstanceOf(ShadowkeepError);
    expect(error).toMatchObject({
      reason: 'MEMORY_EXHAUSTED',
      code: 'RESOURCE_EXHAUSTED',
      message: "a second run needs 41 bytes, 40 of the server's 100 are free",
      metadata: { askedBytes: '41', freeBytes: '40', totalBytes: '100' },
    });
  }
  expect(ledger.usedBytes).toBe(60);
});

test('a check takes nothing', () => {
  const ledger = new Ledger(100);
  ledger.check(100, 'a');
  expect(ledger.usedBytes).toBe(0);
  expect(() => ledger.check(101, 'a')).toThrow('needs 101 bytes');
});
