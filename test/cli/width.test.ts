import { describe, expect, test } from 'vitest';
import { formatProgress } from '../../src/cli/text/progress.js';
import { type Column, formatFields, formatTable } from '../../src/cli/text/table.js';
import { wrapWords } from '../../src/cli/text/wrap-words.js';

interface Row {
  name: string;
  step: number;
  note: string;
}

const ROWS: Row[] = [
  { name: 'a', step: 5, note: 'x' },
  { name: 'longer', step: 12_000, note: '' },
  { name: 'b', step: 7, note: 'constant(decay 0.999), start FIRST, precision F32, without *.bias' },
];

const COLUMNS: Column<Row>[] = [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'STEP', align: 'right', cell: ({ step }) => String(step) },
  { title: 'FIRST TO GO', dropRank: 2, cell: () => 'z' },
  { title: 'SECOND', align: 'right', dropRank: 1, cell: () => '1' },
  { title: 'NOTE', wraps: true, cell: ({ note }) => note },
];

const WIDTHS = Array.from({ length: 140 }, (_, index) => index + 1);

describe('a table', () => {
  test('is aligned and has no trailing spaces', () => {
    expect(formatTable(COLUMNS.slice(0, 2), ROWS.slice(0, 2))).toEqual([
      'NAME     STEP',
      'a           5',
      'longer  12000',
    ]);
    const [title, ...rows] = formatTable(COLUMNS, ROWS);
    expect(title).toBe('NAME     STEP  FIRST TO GO  SECOND  NOTE');
    expect(rows).toHaveLength(3);
  });

  test('of no rows is its titles', () => {
    expect(formatTable(COLUMNS, [], 80)).toEqual(['NAME  STEP  FIRST TO GO  SECOND  NOTE']);
  });

  test.each([
    [60, ['NAME     STEP  FIRST TO GO  SECOND  NOTE', 'a           5  z                 1  x']],
    [50, ['NAME     STEP  SECOND  NOTE', 'a           5       1  x']],
    [40, ['NAME     STEP  NOTE', 'a           5  x', 'longer  12000', 'b           7  constant(decay 0.999),']],
  ])('drops columns by their rank at %i', (width, begin) => {
    const lines = formatTable(COLUMNS, ROWS, width);
    expect(lines.slice(0, begin.length)).toEqual(begin);
    const missing = ['FIRST TO GO', 'SECOND'].filter((title) => !lines[0]!.includes(title));
    expect(lines.filter((line) => line.startsWith('no room for')).join()).toBe(
      missing.length === 0 ? '' : `no room for ${missing.join(', ')}`,
    );
  });

  test('fits every width that its first columns leave room for, and cuts no word', () => {
    const words = (lines: readonly string[]) => lines.join(' ').split(/\s+/).filter(Boolean);
    const all = new Set(words([...formatTable(COLUMNS, ROWS), 'no room for FIRST TO GO, SECOND']));
    for (const width of WIDTHS) {
      const lines = formatTable(COLUMNS, ROWS, width);
      if (width >= 40) expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
      expect(words(lines).filter((word) => !all.has(word))).toEqual([]);
      for (const { name, note } of ROWS) expect(words(lines)).toEqual(expect.arrayContaining(words([name, note])));
    }
  });

  test('drops columns for a long word, which the terminal would cut', () => {
    const word = 'timm-v3:decay=0.9998,use_warmup=true';
    const lines = formatTable(COLUMNS, [{ name: 'a', step: 5, note: `from ${word}` }], 60);
    expect(lines[0]).toBe('NAME  STEP  SECOND  NOTE');
    expect(lines.some((line) => line.endsWith(word) && line.length <= 60)).toBe(true);
  });

  test('shows nothing that is no print', () => {
    const [, row] = formatTable([{ title: 'T', cell: () => 'a\n\x1b[0mb' }, COLUMNS[1]!], [ROWS[0]!]);
    expect(row).toBe('a\\n\\u001b[0mb     5');
  });
});

test('fields are aligned, and go on below themselves', () => {
  const fields = [
    ['run', 'r'],
    ['generation', 'one two three'],
  ] as const;
  expect(formatFields(fields)).toEqual(['run         r', 'generation  one two three']);
  expect(formatFields(fields, 20)).toEqual(['run         r', 'generation  one two', '            three']);
});

test('words are wrapped, and none is cut', () => {
  expect(wrapWords('a bb ccc', 4)).toEqual(['a bb', 'ccc']);
  expect(wrapWords('looooong a', 3)).toEqual(['looooong', 'a']);
  expect(wrapWords('', 3)).toEqual(['']);
});

describe('a progress bar', () => {
  const state = { label: 'pull quickstart', doneBytes: 3.2 * 2 ** 30, totalBytes: 12.5 * 2 ** 30, elapsedMs: 7_000 };
  const PARTS = ['pull quickstart', '25%', '3.2 GiB of 12.5 GiB', '468.1 MiB/s', '20.3 s left'];

  test.each([
    [100, 'pull quickstart ████████░░░░░░░░░░░░░░░░░░░░░░ 25% | 3.2 GiB of 12.5 GiB | 468.1 MiB/s | 20.3 s left'],
    [80, 'pull quickstart ███░░░░░░░ 25% | 3.2 GiB of 12.5 GiB | 468.1 MiB/s | 20.3 s left'],
    [75, 'pull quickstart 25% | 3.2 GiB of 12.5 GiB | 468.1 MiB/s | 20.3 s left'],
    [60, '25% | 3.2 GiB of 12.5 GiB | 468.1 MiB/s | 20.3 s left'],
    [40, '25% | 468.1 MiB/s | 20.3 s left'],
    [20, '25% | 20.3 s left'],
    [10, '25%'],
    [2, ''],
  ])('at %i columns', (width, line) => {
    expect(formatProgress(state, width)).toBe(line);
  });

  test('fits every width and cuts no word', () => {
    for (const width of WIDTHS) {
      for (const doneBytes of [0, 1, state.doneBytes, state.totalBytes, state.totalBytes + 1]) {
        const line = formatProgress({ ...state, doneBytes }, width);
        expect(line.length).toBeLessThanOrEqual(width);
        if (doneBytes !== state.doneBytes) continue;
        const rest = PARTS.reduce((text, part) => text.replace(part, ''), line);
        expect(rest).toMatch(/^[█░| ]*$/);
      }
    }
  });
});
