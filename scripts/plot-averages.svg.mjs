// Draws line charts as SVG: two panels side by side under one legend. Strings of our own, so that
// a document is the same bytes on every machine: a plotting library brings fonts, versions and ids.

const WIDTH = 860;
const PANEL = { width: 335, height: 220, left: 66, gap: 85 };
const LEGEND_ROW = 20;
const TOP = 14;
const POINTS_MAX = 220;

/** Of Okabe and Ito, told apart also by those who see few colours; the dashes tell them apart without any. */
const LINES = [
  { light: '#0072b2', dark: '#56b4e9', dash: '' },
  { light: '#c04d00', dark: '#ff9e4a', dash: '7 3' },
  { light: '#00795a', dark: '#2fd1a0', dash: '2 3' },
  { light: '#a3467f', dark: '#e79cc8', dash: '9 3 2 3' },
];

const SHADES = {
  light: { background: '#ffffff', ink: '#1f2328', grid: '#d8dee4', frame: '#818b98' },
  dark: { background: '#0d1117', ink: '#e6edf3', grid: '#30363d', frame: '#7d8590' },
};

/** `plot`: { about, curves: [{ label, rule }], panels: [{ updates, newest? }] }; `measure(rule, updates)`: its weights. */
export function drawPlot({ about, curves, panels }, measure) {
  const panelTop = TOP + curves.length * LEGEND_ROW + 34;
  const drawn = panels.map((panel, index) => {
    const left = PANEL.left + index * (PANEL.width + PANEL.gap);
    return drawPanel(panel, curves, measure, left, panelTop);
  });
  const notes = Math.max(...drawn.map(({ noteRows }) => noteRows));
  const height = panelTop + PANEL.height + 48 + notes * 17 + 8;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escaped(about)}</title>`,
    `<style>${style()}</style>`,
    `<rect class="background" width="${WIDTH}" height="${height}"/>`,
    ...curves.map(({ label }, index) => legendRow(label, index)),
    ...drawn.map(({ svg }) => svg),
    '</svg>',
  ].join('\n')}\n`;
}

function style() {
  const colours = (mode) => {
    const { background, ink, grid, frame } = SHADES[mode];
    const lines = LINES.map((line, index) => `.c${index}{stroke:${line[mode]}}`).join('');
    return `.background{fill:${background}}text{fill:${ink}}.grid{stroke:${grid}}.frame{stroke:${frame}}${lines}`;
  };
  const fixed =
    'text{font:13px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}.small{font-size:12px}' +
    '.title{font-weight:600}.grid,.frame{fill:none;stroke-width:1}.curve{fill:none;stroke-width:2;stroke-linejoin:round}';
  return `${fixed}${colours('light')}@media (prefers-color-scheme:dark){${colours('dark')}}`;
}

function legendRow(label, index) {
  const y = TOP + index * LEGEND_ROW + 8;
  const line = `<path class="curve c${index}"${dashOf(index)} d="M${PANEL.left} ${y}h40"/>`;
  return `${line}<text x="${PANEL.left + 50}" y="${y + 4.5}">${escaped(label)}</text>`;
}

const dashOf = (index) => (LINES[index].dash === '' ? '' : ` stroke-dasharray="${LINES[index].dash}"`);

/** One panel: the weight of each of the newest updates in the shadow after so many of them, in per cent. */
function drawPanel({ updates, newest = updates }, curves, measure, left, top) {
  const first = updates - newest + 1;
  const measured = curves.map(({ rule }) => measure(rule, updates));
  // The copy of a first update can be hundreds of times heavier than the others; it is told below instead.
  const percentMax = 100 * Math.max(...measured.flatMap(({ weights }) => maxFrom(weights, Math.max(first, 2))));
  const ticks = ticksTo(percentMax);
  const yMax = ticks.at(-1);
  const x = (update) => left + ((update - updates + newest) / newest) * PANEL.width;
  const y = (percent) => top + PANEL.height * (1 - percent / yMax);
  const lines = measured.map(({ weights }, index) => {
    const points = sampled(first, updates)
      .filter((update) => update > 1 || 100 * weights[0] <= yMax)
      .map((update) => `${round(x(update))} ${round(y(100 * weights[update - 1]))}`);
    return `<path class="curve c${index}"${dashOf(index)} d="M${points.join('L')}"/>`;
  });
  const bottom = top + PANEL.height;
  const middle = left + PANEL.width / 2;
  const notes = notesOf(measured, curves, yMax);
  const title =
    newest === updates
      ? `After ${thousands(updates)} updates`
      : `After ${thousands(updates)} updates: the newest ${thousands(newest)}`;
  return {
    noteRows: notes.length,
    svg: [
      text(left, top - 12, title, 'title'),
      ...ticks.map((tick) => `<path class="grid" d="M${left} ${round(y(tick))}h${PANEL.width}"/>`),
      ...ticks.map((tick) => text(left - 7, round(y(tick)) + 4, String(tick), 'small', 'end')),
      ...xTicks(updates, newest).map((tick) => {
        const at = round(x(tick));
        return `<path class="frame" d="M${at} ${bottom}v5"/>${text(at, bottom + 19, thousands(tick), 'small', 'middle')}`;
      }),
      `<path class="frame" d="M${left} ${top}V${bottom}H${left + PANEL.width}"/>`,
      ...lines,
      text(middle, bottom + 38, 'update (the newest is on the right)', 'small', 'middle'),
      `<text class="small" text-anchor="middle" transform="translate(${left - 50} ${top + PANEL.height / 2}) rotate(-90)">its weight in the shadow, %</text>`,
      ...notes.map((note, row) => text(left, bottom + 58 + row * 17, note, 'small')),
    ].join('\n'),
  };
}

/** What has no place on the axes: the weights before the first update, or a first update that is off the scale. */
function notesOf(measured, curves, yMax) {
  return measured.flatMap(({ weights, start }, index) => {
    const { label, rule } = curves[index];
    const name = label.split(':')[0];
    const note = (part, what) => `Off the plot: ${(100 * part).toPrecision(3)} % ${what} (${name})`;
    if (start >= 0.001) return [note(start, rule.start === 'ZEROS' ? 'zeros' : 'initial weights')];
    return 100 * weights[0] > yMax ? [note(weights[0], 'first update')] : [];
  });
}

function maxFrom(weights, first) {
  let max = 0;
  for (let i = first; i <= weights.length; i++) max = Math.max(max, weights[i - 1]);
  return max;
}

/** Denser towards the newest, where profiles are steep. */
function sampled(first, last) {
  const all = Array.from({ length: POINTS_MAX }, (_, i) => {
    const part = i / (POINTS_MAX - 1);
    return last - Math.round((last - first) * (1 - part) ** 2);
  });
  return [...new Set(all)];
}

/** 0 and 3 to 6 round steps up to at least `max`. */
function ticksTo(max) {
  const magnitude = 10 ** Math.floor(Math.log10(max));
  const step = [0.2, 0.25, 0.5, 1, 2, 2.5, 5].map((part) => part * magnitude).find((part) => max / part <= 5);
  const count = Math.ceil(max / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

/** Quarters of the axis, or fifths where those are round. */
function xTicks(updates, newest) {
  const parts = newest % 4 === 0 ? 4 : 5;
  return Array.from({ length: parts + 1 }, (_, i) => updates - newest + (i * newest) / parts);
}

function text(x, y, words, className, anchor) {
  const anchored = anchor === undefined ? '' : ` text-anchor="${anchor}"`;
  return `<text class="${className}" x="${x}" y="${y}"${anchored}>${escaped(words)}</text>`;
}

const round = (value) => Math.round(value * 10) / 10;
const thousands = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ',');
const escaped = (words) => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
