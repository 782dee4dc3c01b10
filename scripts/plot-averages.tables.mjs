// The tables of docs/averages, in Markdown.
import { effectiveWeights, firstFolds, moments, pushes, summary } from './plot-averages.fold.mjs';

/** Block name → Markdown, for the page of a family. */
export function blocksOf({ engine, presets, fits }, family) {
  return {
    'first-folds': family.tables.map((entry) => foldTable(engine, entry)).join('\n\n'),
    profile: profileTable(engine, family.plot),
    ...(family.presets.length === 0 ? {} : { presets: expansionTable(presets, family.presets) }),
    ...(family.widths === undefined ? {} : { widths: widthTable(engine, family.widths) }),
    ...(family.combinations === undefined ? {} : { fits: fitTable(engine, fits, family.combinations) }),
  };
}

/** Block name → Markdown, for the overview. */
export function overviewBlocks({ engine, presets }, all) {
  return {
    families: familyTable(all),
    gates: gateTable(engine),
    stall: stallTable(),
    drift: driftTable(),
    presets: presetTable(presets, all),
  };
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

const digits = (value, count = 7) => String(Number(value.toPrecision(count)));

function foldTable(engine, { title, rule, note }) {
  const rows = firstFolds(engine, rule);
  const isGated = rows.some(({ k, t }) => k !== t);
  const head = ['k', ...(isGated ? ['t'] : []), 'n', 'decay', 'w_k', 'shadow'];
  const cells = rows.map(({ k, t, n, weight, shadow }, index) => [
    k,
    ...(isGated ? [t] : []),
    index === 0 && rule.start === 'FIRST' ? `${n} (copied)` : n,
    digits(1 - weight),
    digits(weight),
    digits(shadow),
  ]);
  return [`**${title}**`, ...(note === undefined ? [] : [note]), table(head, cells)].join('\n\n');
}

function percent(share) {
  if (share === 0) return '0';
  return share < 1e-6 ? 'below 0.0001 %' : `${digits(100 * share, 3)} %`;
}

/** What the plot shows, in numbers. */
function profileTable(engine, { curves, panels }) {
  const rows = panels.flatMap(({ updates }) =>
    curves.map(({ label, rule }) => {
      const measured = effectiveWeights(engine, rule, updates);
      const { meanAge, newest } = summary(measured);
      return [updates, label, percent(measured.start), digits(meanAge, 3), newest ?? 'the start has more'];
    }),
  );
  return table(
    ['updates', 'rule', 'left of the start', 'mean age of the updates', 'half of the weight is in the newest'],
    rows,
  );
}

/** Profiles of power functions, measured for several cadences, against what they should be. */
function widthTable(engine, { sigmas, cadences, steps }) {
  const rows = sigmas.flatMap((sigma) => {
    const gamma = engine.gammaOf(sigma);
    const rule = { start: 'FIRST', decayUnit: 'PER_STEP', schedule: { kind: 'power_function', gamma } };
    return cadences.map((cadence) => {
      const stepOf = (i) => i * cadence;
      const { weights } = effectiveWeights(engine, rule, steps / cadence, stepOf);
      const { mean, deviation } = moments(weights, stepOf);
      return [
        sigma,
        digits(gamma, 6),
        cadence,
        digits(mean, 4),
        digits((gamma + 1) / (gamma + 2), 4),
        digits(deviation, 4),
      ];
    });
  });
  return table(['σ', 'γ', 'push every', 'mean position', '(γ+1)/(γ+2)', 'relative width'], rows);
}

/** How well snapshots of a few widths, evenly spaced over a training, combine to others at its end. */
function fitTable({ gammaOf }, { fitProfiles }, { kept, wanted, counts }) {
  const rows = wanted.map((sigma) => [
    sigma,
    ...counts.map((count) => {
      const times = Array.from({ length: count }, (_, index) => (index + 1) / count);
      const inputs = times.flatMap((time) => kept.map((width) => ({ gamma: gammaOf(width), time })));
      const { error } = fitProfiles(inputs, { gamma: gammaOf(sigma), time: 1 });
      return `${(100 * error).toFixed(1)} %`;
    }),
  ]);
  return table(['σ wanted', ...counts.map((count) => `${count} snapshots of each`)], rows);
}

function familyTable(all) {
  const schedulesOf = ({ kinds, option }) => {
    const names = kinds.map((kind) => `\`${kind}\``).join(', ');
    return option === undefined ? names : `${names} with \`${option}\``;
  };
  const rows = all.map((family) => [linkTo(family), schedulesOf(family), family.word]);
  return table(['page', 'schedules', 'in a word'], rows);
}

const linkTo = ({ name, page }) => `[${name}](${page}.md)`;

/** Every peer's preset, the pages that it can lead to, and its own account of what it becomes. */
function presetTable({ listPresets }, all) {
  const pagesOf = (name) => all.filter(({ presets }) => presets.some((text) => text.split(':')[0] === name));
  const rows = listPresets()
    .filter(({ peer }) => peer !== undefined)
    .map(({ name, peer, rule }) => [`\`${name}\``, peer, pagesOf(name).map(linkTo).join(', '), rule]);
  return table(['preset', 'whose numbers', 'page', 'what it becomes'], rows);
}

/** What texts of presets expand to, in the proto's fields. */
/** The proto's name of a field. */
const snake = (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function expansionTable({ parseAverage }, texts) {
  const shown = (value) => (typeof value === 'number' ? digits(value) : String(value));
  const field = ([key, value]) => {
    if (typeof value !== 'object') return `\`${snake(key)}\` ${shown(value)}`;
    const { kind, ...parameters } = value;
    const inner = Object.entries(parameters).map(([name, part]) => `${snake(name)} ${shown(part)}`);
    return inner.length === 0 ? `\`${kind}\`` : `\`${kind}\` (${inner.join(', ')})`;
  };
  const rows = texts.flatMap((text) =>
    parseAverage(text).map(({ name, preset, ...fields }) => [
      `\`${text}\``,
      Object.entries(fields).map(field).join(', '),
    ]),
  );
  return table(['preset', 'the average that it becomes'], rows);
}

/** What becomes of each push under start, delay and every. */
function gateTable(engine) {
  const schedule = { kind: 'mean' };
  const rules = [
    ['FIRST', { start: 'FIRST' }],
    ['FIRST, delay 3 COPY_UNTIL', { start: 'FIRST', delayUpdates: 3 }],
    ['INITIAL, delay 3 HOLD_UNTIL', { start: 'INITIAL', delayUpdates: 3, delayMode: 'HOLD_UNTIL' }],
    ['FIRST, delay 3 HOLD_UNTIL', { start: 'FIRST', delayUpdates: 3, delayMode: 'HOLD_UNTIL' }],
    ['INITIAL, every 3', { start: 'INITIAL', every: 3 }],
    ['FIRST, every 3', { start: 'FIRST', every: 3 }],
    ['FIRST, every 3, offset 1', { start: 'FIRST', every: 3, everyOffset: 1 }],
    ['FIRST, every 3, offset 1, delay 3 COPY_UNTIL', { start: 'FIRST', every: 3, everyOffset: 1, delayUpdates: 3 }],
  ];
  const columns = Array.from({ length: 8 }, (_, index) => index + 1);
  const rows = rules.map(([label, rule]) => [label, ...columns.map(cellsOf(pushes(engine, { ...rule, schedule })))]);
  return table(['rule', ...columns.map((column) => `push ${column}`)], rows);
}

const cellsOf = (steps) => () => {
  const { k, weight, isFolded } = steps.next().value;
  if (isFolded) return `**k = ${k}**`;
  return weight === 1 ? 'copy' : '·';
};

const DECAYS = [0.99, 0.999, 0.9999, 0.99999];

/** (1 − β) |p − s| must reach half a unit in the last place of s; for s just above a power of two. */
function stallTable() {
  const gap = (bits) => DECAYS.map((decay) => (2 ** -bits / (1 - decay)).toExponential(1));
  return table(
    ['shadow', ...DECAYS.map((decay) => `β = ${decay}`)],
    [
      ['F32', ...gap(24)],
      ['F64', ...gap(53)],
    ],
  );
}

/** The same in a run: both precisions from s = 1, each operation rounded. */
function driftTable() {
  const [decay, updates] = [0.9999, 200_000];
  const run = (target, round) => {
    const weight = round(1 - decay);
    let shadow = 1;
    for (let k = 0; k < updates; k++) shadow = round(shadow + round(weight * round(round(target) - shadow)));
    return shadow;
  };
  const rows = [1.0005, 1.5].map((target) => [
    target,
    digits(target + (1 - target) * decay ** updates, 10),
    digits(run(target, Math.fround), 10),
    digits(run(target, Number), 10),
  ]);
  return table(['p', 'exact', 'F32', 'F64'], rows);
}
