import { expect, test } from 'vitest';
import { AVERAGE_COUNTS, AVERAGE_DEFAULTS, AVERAGE_WORDS, SCHEDULES, snakeCase } from '../../src/common/index.js';

/** With the proto's names: keys, and the values that name a field. */
function snaked(value: unknown, key?: string): unknown {
  if (Array.isArray(value)) return value.map((entry) => snaked(entry));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [snakeCase(name), snaked(entry, name)]));
  }
  return (key === 'atMost' || key === 'parameter') && typeof value === 'string' ? snakeCase(value) : value;
}

test("Python's table is this one: npx vitest run test/common/average-table.test.ts --update", async () => {
  const table = { defaults: AVERAGE_DEFAULTS, words: AVERAGE_WORDS, counts: AVERAGE_COUNTS, schedules: SCHEDULES };
  const text = `${JSON.stringify(snaked(table), undefined, 2)}\n`;
  await expect(text).toMatchFileSnapshot('../../python/src/shadowkeep/averages/table.json');
});
