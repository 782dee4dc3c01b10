import { median } from './pairs.mjs';

/**
 * One benchmark's result: `samples` holds one value per round under names like `vs_tcp` or `gelems_per_s.F32`, and each
 * becomes a figure, its median; `ranges` has the least and the largest.
 */
export function buildResult(benchmark, { samples, setup }, conditions) {
  const names = Object.keys(samples);
  const each = (make) => Object.fromEntries(names.map((name) => [name, make(samples[name])]));
  const medians = each((values) => round(median(values)));
  return {
    benchmark: benchmark.name,
    ...nest(medians),
    ranges: nest(each((values) => [round(Math.min(...values)), round(Math.max(...values))])),
    targets: benchmark.targets.map((target) => {
      const value = medians[target.figure];
      return { ...target, value, met: isMet(target, value) };
    }),
    setup,
    ...conditions,
    samples: nest(each((values) => values.map(round))),
  };
}

function isMet({ at_least: least, at_most: most }, value) {
  return (least === undefined || value >= least) && (most === undefined || value <= most);
}

/** { 'a.b': 1 } → { a: { b: 1 } } */
function nest(flat) {
  const root = {};
  for (const [name, value] of Object.entries(flat)) {
    const path = name.split('.');
    const last = path.pop();
    let at = root;
    for (const part of path) at = at[part] ??= {};
    at[last] = value;
  }
  return root;
}

/** Rounds to four significant digits, because more digits mean nothing. */
function round(value) {
  return Number(value.toPrecision(4));
}

/** An aligned table of all figures, with their ranges and, if they have some, their targets. */
export function formatTable(results) {
  const rows = [['benchmark', 'figure', 'median', 'min – max', 'target', '']];
  for (const result of results) {
    if (result.skipped !== undefined) {
      rows.push([result.benchmark, `skipped: ${result.skipped}`, '', '', '', '']);
      continue;
    }
    const targets = new Map(result.targets.map((target) => [target.figure, target]));
    for (const [figure, [min, max], value] of figuresOf(result)) {
      rows.push([result.benchmark, figure, String(value), `${min} – ${max}`, ...targetCells(targets.get(figure))]);
    }
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => (isSkip(row) ? 0 : row[column].length))));
  return rows
    .map((row) =>
      row
        .map((cell, column) => pad(cell, widths[column], column))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const isSkip = (row) => row[1].startsWith('skipped');

function pad(cell, width, column) {
  return column === 2 ? cell.padStart(width) : cell.padEnd(width);
}

function targetCells(target) {
  if (target === undefined) return ['', ''];
  const bound = target.at_least !== undefined ? `≥ ${target.at_least}` : `≤ ${target.at_most}`;
  return [bound, target.met ? 'met' : 'MISSED'];
}

function* figuresOf(result, ranges = result.ranges, values = result, path = []) {
  for (const [name, range] of Object.entries(ranges)) {
    const here = [...path, name];
    if (Array.isArray(range)) yield [here.join('.'), range, values[name]];
    else yield* figuresOf(result, range, values[name], here);
  }
}
