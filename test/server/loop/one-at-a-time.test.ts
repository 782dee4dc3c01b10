import { expect, test } from 'vitest';
import { OneAtATime } from '../../../src/server/loop/one-at-a-time.js';

test('the next action begins when the last one is done, or has failed', async () => {
  const actions = new OneAtATime();
  const seen: string[] = [];
  const act = (name: string, isFailing = false): Promise<string> =>
    actions.run(async () => {
      seen.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(`${name} ends`);
      if (isFailing) throw new Error(name);
      return name;
    });
  const [a, b, c] = await Promise.allSettled([act('a'), act('b', true), act('c')]);
  expect([a.status, b.status, c.status]).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(seen).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});
