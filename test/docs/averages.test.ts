import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { render } from '../../scripts/plot-averages.mjs';
import * as averages from '../../src/client/averages/index.js';
import * as presets from '../../src/client/presets/index.js';
import { SCHEDULE_KINDS } from '../../src/common/index.js';
import * as engine from '../../src/engine/averages/index.js';
import * as fits from '../../src/engine/post-hoc/fit.js';
import { ROOT, readSource, sourceFiles } from '../support/source-files.js';

const FOLDER = 'docs/averages';
const pages = sourceFiles(FOLDER, ['.md']);
const overview = readSource(`${FOLDER}/README.md`);

/** Cells of the table rows in a text, without heads. */
function rowsOf(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2, -2).split(' | '));
}

describe('what is generated', () => {
  test.for([...render({ engine, fits, presets }, readSource)])('%s is fresh', ([path, text]) => {
    expect(existsSync(join(ROOT, path)), `node scripts/plot-averages.mjs makes ${path}`).toBe(true);
    expect(readSource(path), 'run node scripts/plot-averages.mjs').toBe(text);
  });

  test('a page whose markers are gone is refused', () => {
    const without = (path: string) => readSource(path).replaceAll('<!-- end -->', '');
    expect(() => render({ engine, fits, presets }, without)).toThrow(/no block for families/);
  });
});

describe('nothing is left out', () => {
  test('each kind of schedule has a page', () => {
    const schedules = rowsOf(overview).filter(([page]) => page?.startsWith('['));
    for (const kind of SCHEDULE_KINDS) {
      const page = schedules.find(([, names]) => names?.includes(`\`${kind}\``))?.[0]?.match(/\((.+)\)/)?.[1];
      expect(pages, kind).toContain(`${FOLDER}/${page}`);
      expect(readSource(`${FOLDER}/${page}`), kind).toContain(`src/engine/averages/${kind.replaceAll('_', '-')}.ts`);
    }
  });

  const PEERS =
    'textbook torch-ema torch-swa timm-v2 timm-v3 ema-pytorch fadel-torch-ema diffusers lightning composer nemo edm2 ' +
    'optax tensorflow keras torchtitan ultralytics mmengine k-diffusion fairseq';

  test.each(PEERS.split(' '))('the preset %s is in the table, with a page that shows what it becomes', (name) => {
    const row = rowsOf(overview).find(([first]) => first === `\`${name}\``);
    const linked = [...(row?.[2] ?? '').matchAll(/\(([a-z-]+\.md)\)/g)].map(([, page]) => page);
    expect(linked.length).toBeGreaterThan(0);
    for (const page of linked) expect(readSource(`${FOLDER}/${page}`)).toMatch(new RegExp(`^\\| \`${name}[\`:]`, 'm'));
  });
});

test.each(pages)('the links of %s lead somewhere', (path) => {
  const anchorsOf = (file: string) =>
    [...readSource(file).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    );
  for (const [, target = ''] of readSource(path).matchAll(/\]\(([^)\s]+)\)/g)) {
    const [file = '', anchor] = target.split('#');
    const found = file === '' ? path : join(dirname(path), file);
    expect(existsSync(join(ROOT, found)), `${path}: ${target}`).toBe(true);
    if (anchor !== undefined) expect(anchorsOf(found), `${path}: ${target}`).toContain(anchor);
  }
});

describe('three ways to say it are one', () => {
  const said = pages.flatMap((path) => {
    const ways = rowsOf(readSource(path)).flatMap(([language, code = '']) =>
      ['shell', 'TypeScript', 'Python'].includes(language ?? '') ? [code.slice(1, -1)] : [],
    );
    return Array.from({ length: ways.length / 3 }, (_, i) => ({ path, ways: ways.slice(3 * i, 3 * i + 3) }));
  });
  const textOf = (shell: string) => shell.match(/^--average '(.+)'$/)?.[1] ?? `not an option: ${shell}`;
  const evaluate = (code: string): unknown => {
    const known = { ...averages, preset: presets.preset };
    return new Function(...Object.keys(known), `return ${code}`)(...Object.values(known));
  };

  test('each page has them', () => {
    expect(pages.filter((path) => !said.some((entry) => entry.path === path))).toEqual([]);
  });

  test.each(said)('$ways.0', ({ ways: [shell = '', typescript = ''] }) => {
    expect([evaluate(typescript)].flat()).toEqual(presets.parseAverage(textOf(shell)));
  });

  const python = process.env['SHADOWKEEP_PYTHON'];
  test.skipIf(python === undefined)('in Python too', () => {
    const program = [
      'import dataclasses, json, sys',
      'from shadowkeep.averages import *',
      'made = [eval(code) for code in json.load(sys.stdin)]',
      'print(json.dumps([{**dataclasses.asdict(a), "kind": type(a.schedule).__name__} for a in made]))',
    ];
    const { stdout, stderr } = spawnSync(python ?? '', ['-c', program.join('\n')], {
      input: JSON.stringify(said.map(({ ways }) => ways[2])),
      env: { ...process.env, PYTHONPATH: join(ROOT, 'python', 'src') },
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    const made = JSON.parse(stdout) as Record<string, unknown>[];
    expect(made.length).toBe(said.length);
    for (const [index, { ways }] of said.entries()) {
      const [average] = presets.parseAverage(textOf(ways[0] ?? ''));
      for (const [field, value] of Object.entries(averages.toAverageMessage(average!))) {
        const isSchedule = typeof value === 'object';
        expect(made[index]?.[isSchedule ? 'schedule' : field], `${ways[2]}: ${field}`).toEqual(
          isSchedule ? expect.objectContaining(value) : value,
        );
      }
    }
  });
});

/** Where a falling function is 0. */
function bisect(low: number, high: number, f: (x: number) => number): number {
  const middle = (low + high) / 2;
  if (high - low < 1e-12) return middle;
  return f(middle) > 0 ? bisect(middle, high, f) : bisect(low, middle, f);
}

/** Formulas written again, from the pages, folded over p_t = t in float64; one table of each page must be theirs. */
describe('the tables hold what the formulas give', () => {
  const lnTwo = Math.log(2);
  const gamma = bisect(0, 100, (value) => Math.sqrt((value + 1) / ((value + 2) ** 2 * (value + 3))) - 0.1);
  const rules: Record<string, (k: number) => number> = {
    'decay 0.9, start FIRST': (k) => (k === 1 ? 1 : 0.1),
    'half-life of 10 updates, start INITIAL': () => 1 - Math.exp(-lnTwo / 10),
    'decay 0.9999, start INITIAL, n from 1 (fadel-torch-ema)': (k) => 9 / (10 + k),
    'inv_gamma 1, power 2/3, decay_max 0.9999, start FIRST, n from 0 (timm-v3 with use_warmup, diffusers)': (k) =>
      k ** (-2 / 3),
    'decay 0.9999, tau 2000, start INITIAL, n from 1 (ultralytics)': (k) => 1 - 0.9999 + 0.9999 * Math.exp(-k / 2000),
    'fraction 0.05, start INITIAL, n from 1 (torchtitan)': (k) => 1 - Math.exp((-lnTwo * 20) / k),
    'momentum 0.0002, gamma 100, start FIRST, n from 0 (mmengine with type=annealing)': (k) => 100 / (99 + k),
    'decay 0.996, steps 5, start INITIAL, n from 0': (k) => 0.004 * Math.cos((Math.PI * (k - 1)) / 10) ** 2,
    'decay 0.9, start ZEROS, bias_correction (optax)': (k) =>
      1 / Array.from({ length: k }, (_, i) => 0.9 ** i).reduce((a, b) => a + b),
    'no bound, ratio 0.09, PER_STEP, start INITIAL (edm2 with halflife_Mimg=inf)': (k) => 1 - 0.5 ** (1 / (0.09 * k)),
    'start FIRST (torch-swa, mmengine with type=swa)': (k) => 1 / k,
    'sigma_rel 0.1, PER_STEP, start FIRST (edm2)': (k) => 1 - (1 - 1 / k) ** (gamma + 1),
  };
  const text = pages.map(readSource).join('\n');

  test.each(Object.entries(rules))('%s', (title, weightOf) => {
    const after = text.split(`**${title}**`)[1]?.split('\n**')[0] ?? '';
    const rows = rowsOf(after)
      .filter(([k]) => /^[1-6]$/.test(k ?? ''))
      .slice(0, 6);
    expect(rows.length).toBe(6);
    let shadow = 0;
    for (const [index, row] of rows.entries()) {
      const k = index + 1;
      const weight = weightOf(k);
      shadow = (1 - weight) * shadow + weight * k;
      // Seven digits are shown; 1e-12 is for the zero at the end of a cosine.
      for (const [column, exact] of [1 - weight, weight, shadow].entries()) {
        expect(Math.abs(Number(row[column + 2]) - exact), row.join(' ')).toBeLessThan(1e-6 * exact + 1e-12);
      }
    }
  });
});

test('the error of a combination is the distance of the profiles, integrated', () => {
  const target = { gamma: engine.gammaOf(0.075), time: 1 };
  const inputs = [0.5, 1].flatMap((time) => [0.05, 0.1].map((sigma) => ({ gamma: engine.gammaOf(sigma), time })));
  const { weights } = fits.fitProfiles(inputs, target);
  const at = ({ gamma, time }: typeof target, x: number) => (x > time ? 0 : ((gamma + 1) * (x / time) ** gamma) / time);
  const [cells, sums] = [100_000, { distance: 0, norm: 0 }];
  for (let cell = 0; cell < cells; cell++) {
    const x = (cell + 0.5) / cells;
    const combined = inputs.reduce((sum, input, index) => sum + weights[index]! * at(input, x), 0);
    sums.distance += (at(target, x) - combined) ** 2;
    sums.norm += at(target, x) ** 2;
  }
  const row = rowsOf(readSource(`${FOLDER}/power-function.md`)).find(([sigma]) => sigma === '0.075');
  expect(row?.[1]).toBe(`${(100 * Math.sqrt(sums.distance / sums.norm)).toFixed(1)} %`);
});
