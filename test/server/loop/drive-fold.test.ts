import { expect, test } from 'vitest';
import { driveFold } from '../../../src/server/loop/drive-fold.js';

test('a long fold lets others run in between, a short one is done at once', async () => {
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns += 1;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  await driveFold([undefined, undefined]);
  expect(turns).toBe(0);

  function* slices(): Generator<void> {
    for (let slice = 0; slice < 30; slice++) {
      const until = performance.now() + 2;
      while (performance.now() < until);
      yield;
    }
  }
  await driveFold(slices());
  isDone = true;
  // 60 ms of work in slices of 4 ms let others run about ten times.
  expect(turns).toBeGreaterThan(5);
});

test('what a fold throws is the caller’s', async () => {
  function* broken(): Generator<void> {
    yield;
    throw new Error('broken invariant');
  }
  await expect(driveFold(broken())).rejects.toThrow('broken invariant');
});
