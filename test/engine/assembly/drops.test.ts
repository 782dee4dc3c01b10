import { expect, test } from 'vitest';
import { Drops } from '../../../src/engine/assembly/drops.js';

test('who has lost a step is said of it and of no other', () => {
  const drops = new Drops();
  drops.miss(3);
  drops.lose(7, 2);
  // Another one has lost fewer, and then more.
  drops.lose(6, 1);
  drops.lose(9, 1);
  drops.miss(5);
  expect(drops.through).toBe(9);
  const by = [3, 4, 7, 8, 9, 10].map((step) => drops.outcomeOf(step));
  expect(by.map(({ lostBy }) => lostBy)).toEqual([undefined, 2, 2, 1, 1, undefined]);
  expect(by.map(({ detail }) => detail).slice(0, 2)).toEqual(['', 'writer 2 has lost it']);
});

test('writers that lose step after step cost no memory', () => {
  const drops = new Drops();
  for (let step = 1; step <= 1_000; step++) drops.lose(step, step % 3);
  expect(drops.outcomeOf(1)).toEqual({ state: 'DROPPED', detail: '' });
  expect(drops.outcomeOf(1_000)).toMatchObject({ lostBy: 1 });
});
