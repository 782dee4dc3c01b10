import { expect, test } from 'vitest';
import { AnswerTurns } from '../../../src/server/loop/answer-turns.js';

test('of a thousand answers so many are written in each turn of the loop, in the order in which they came', async () => {
  const turns = new AnswerTurns();
  const written: number[] = [];
  const answers = Array.from({ length: 1_000 }, async (_, index) => {
    await turns.turn();
    written.push(index);
  });
  const perTurn = [];
  for (let before = 0; written.length < 1_000; before = written.length) {
    await new Promise((resolve) => setImmediate(resolve));
    perTurn.push(written.length - before);
  }
  await Promise.all(answers);
  expect(written).toEqual(Array.from({ length: 1_000 }, (_, index) => index));
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(2 * 64);
  expect(turns.turn(), 'nobody waits any more').toBeUndefined();
});
