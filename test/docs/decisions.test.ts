import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, readSource } from '../support/source-files.js';

const FOLDER = 'docs/decisions';
const records = readdirSync(join(ROOT, FOLDER)).filter((name) => name !== 'README.md');

test.each(records)('%s has a number, a status with its date, and what was not chosen', (name) => {
  const text = readSource(`${FOLDER}/${name}`);
  expect(text).toMatch(
    new RegExp(`^# ${name.slice(0, 4)}: \\S.*\\n\\nStatus: (accepted|replaced by \\d{4}), \\d{4}-\\d\\d-\\d\\d\\.\\n`),
  );
  for (const part of ['Context', 'Decision', 'Not chosen']) expect(text).toContain(`\n**${part}.** `);
});

test('each is in the table, in order, by its title and status', () => {
  const rows = readSource(`${FOLDER}/README.md`).match(/^\| \[.*$/gm);
  const expected = records.sort().map((name, index) => {
    const [, number, title, status] = /^# (\d+): (.*)\n\nStatus: (.*)\.\n/.exec(readSource(`${FOLDER}/${name}`)) ?? [];
    expect(Number(number)).toBe(index + 1);
    return `| [${number}](${name}) | ${title} | ${status} |`;
  });
  expect(rows).toEqual(expected);
});
