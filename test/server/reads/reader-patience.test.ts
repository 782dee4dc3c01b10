import { expect, test } from 'vitest';
import { makeReaderPatience } from '../../../src/server/reads/reader-patience.js';

/** A read that is over after it was looked at `looks` times. If it is moving, it has sent bytes before each look. */
function readOf(looks: number, isMoving = true) {
  let seen = 0;
  return {
    get looks() {
      return seen;
    },
    get isOpen() {
      seen += 1;
      return seen <= looks;
    },
    get sentBytes() {
      return isMoving ? seen : 0;
    },
  };
}

type Patience = ReturnType<typeof makeReaderPatience>;
const wait = async (patience: Patience, read: ReturnType<typeof readOf>): Promise<number> => {
  await patience(read as unknown as Parameters<Patience>[0]);
  return read.looks;
};

test('a step waits for a read that goes on, and then not for a while', async () => {
  const patience = makeReaderPatience();
  expect(await wait(patience, readOf(20))).toBe(21);
  expect(await wait(patience, readOf(20))).toBe(0);
  // After three times as long as it has waited, a step waits again.
  for (let looks = 0; looks === 0; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    looks = await wait(patience, readOf(1));
  }
});

test('a read that does not move is not waited for to its end', async () => {
  const looks = await wait(makeReaderPatience(), readOf(1_000_000, false));
  expect(looks).toBeGreaterThan(0);
  expect(looks).toBeLessThan(1_000_000);
});
