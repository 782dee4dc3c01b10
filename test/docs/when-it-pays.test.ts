/** The tables of docs/when-it-pays.md follow from the arithmetic that the page gives. */
import { expect, test } from 'vitest';
import { readSource } from '../support/source-files.js';

const page = readSource('docs/when-it-pays.md');

/** Cells of the rows below a table's marker, without its head. */
function rows(marker: string): string[][] {
  const [, after = ''] = page.split(`<!-- table: ${marker} -->`);
  const lines = after.split('\n').slice(2);
  const end = lines.findIndex((line) => !line.startsWith('|'));
  return lines.slice(2, end).map((line) => line.slice(2, -2).split(' | '));
}

/** A figure with the unit that stands for a power of ten: "300 M" is 3e8. */
function figure(cell: string): number {
  const [digits = '', unit = ''] = cell.replaceAll(',', '').split(' ');
  return Number(digits) * ({ M: 1e6, B: 1e9, GB: 1e9 }[unit] ?? 1);
}

test('a push takes the bytes, the seconds and the steps between that the page says', () => {
  const table = rows('rate');
  expect(table).toHaveLength(5);
  for (const [parameters = '', bytes = '', seconds = '', every = ''] of table) {
    expect(figure(bytes)).toBe(figure(parameters) * 2);
    const exact = figure(bytes) / 1.2e9;
    expect(Math.abs(figure(seconds) - exact) / exact).toBeLessThan(0.05);
    expect(figure(every)).toBe(Math.ceil(exact / 0.5));
  }
});

/** Variance of an EMA of noise of variance 1 and autocorrelation q^|k|. */
const variance = (beta: number, q: number) => ((1 - beta) / (1 + beta)) * ((1 + beta * q) / (1 - beta * q));

test('an average of every N-th step has the noise that the page says', () => {
  const table = rows('variance');
  expect(table).toHaveLength(4);
  for (const [forgotten = '', ...ratios] of table) {
    const q = forgotten === 'at once' ? 0 : Math.exp(-1 / figure(forgotten));
    const expected = [1, 10, 100].map((n) => variance(0.999 ** n, q ** n) / variance(0.999, q));
    expect(ratios).toEqual(expected.map((ratio) => ratio.toFixed(2)));
  }
});
