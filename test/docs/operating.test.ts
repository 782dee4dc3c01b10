/** Compares the options and figures in docs/operating.md with the code that they come from. */
import { describe, expect, test } from 'vitest';
import { formatBytesExact } from '../../src/cli/text/format.js';
import { OPTION_ROWS, type OptionRow } from '../../src/server/options/option-table.js';
import { readSource } from '../support/source-files.js';

const page = readSource('docs/operating.md');

const DAY_MS = 86_400_000;

/** The cells of each row of the table of options: flag, variable, default, bounds. */
const documented = page
  .split('\n')
  .filter((line) => line.startsWith('| `--'))
  .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
  .map(([, flag, variable, value, bounds]) => ({ flag, variable, default: value, bounds }));

function durationText(ms: number): string {
  if (ms === 0) return '0s';
  return ms % 60_000 === 0 ? `${ms / 60_000}m` : ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`;
}

/** The default as the table has it. A default that is computed is explained in the words of the option's own help. */
function defaultOf(row: OptionRow): string {
  if (typeof row.default === 'function') {
    const [, words = ''] = /default (.*)$/.exec(row.help) ?? [];
    return words.replace('of that', 'of --memory');
  }
  if (typeof row.default === 'string') return row.default;
  return row.kind === 'TIME' ? durationText(row.default) : String(row.default);
}

function boundsOf(row: OptionRow): string {
  switch (row.kind) {
    case 'TEXT':
      return row.placeholder;
    case 'WORD':
      return row.words.join(', ');
    case 'COUNT':
      return `${row.min} to ${row.max}`;
    case 'BYTES':
      return `from ${formatBytesExact(row.min)}`;
    case 'TIME':
      return `from ${durationText(row.min)}`;
  }
}

describe('docs/operating.md', () => {
  test('lists the options of the server with their variables, defaults and bounds', () => {
    const listed = OPTION_ROWS.map(([, row]) => row).filter((row) => row.isHidden !== true);
    const expected = listed.map((row) => ({
      flag: row.flag,
      variable: `SHADOWKEEP_${row.flag.slice(2).toUpperCase().replaceAll('-', '_')}`,
      default: defaultOf(row),
      bounds: boundsOf(row),
    }));
    expect(documented).toEqual(expected);
  });

  test('says of the largest time what every option of that kind has', () => {
    const largest = OPTION_ROWS.flatMap(([, row]) => (row.kind === 'TIME' ? [row.max] : []));
    expect(largest.length).toBeGreaterThan(0);
    for (const maxMs of largest) expect(page).toContain(`at most ${Math.floor(maxMs / DAY_MS)} days`);
  });
});
