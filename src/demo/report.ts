import { styleText } from 'node:util';
import type { Classifier } from './classifier.js';
import { type Digits, IMAGE_COUNT, IMAGE_SIDE, imageOf } from './digits.js';
import type { Row } from './recording.js';
import { DECAY, LEARNING_RATE } from './setup.js';
import { RAW_MEDIAN_STEPS, type Summary } from './summary.js';

type Style = 'bold' | 'dim' | 'green' | 'red';
/** Colours text for a terminal; returns it unchanged when the output is no terminal. */
type Paint = (style: Style, text: string) => string;

export function paintFor(stream: NodeJS.WriteStream): Paint {
  const coloured = stream.isTTY === true && process.env['NO_COLOR'] === undefined;
  return (style, text) => (coloured ? styleText(style, text) : text);
}

/** As many images as fit into 80 columns. */
const IMAGES_SHOWN = 7;
/** A pixel with more than this share of full ink is drawn. */
const INK_MIN = 0.25;
const HALF_BLOCKS = [' ', '▄', '▀', '█'];

/** Draws some images side by side. A character shows two pixels, one above the other. */
export function drawImages(digits: Digits): string[] {
  const images = Array.from({ length: IMAGES_SHOWN }, (_, row) => imageOf(digits, row));
  return Array.from({ length: IMAGE_SIDE / 2 }, (_, line) =>
    images.map((image) => drawLine(image, 2 * line)).join('   '),
  );
}

function drawLine(image: Float32Array, top: number): string {
  const ink = (x: number, y: number): number => (image[y * IMAGE_SIDE + x]! > INK_MIN ? 1 : 0);
  return Array.from({ length: IMAGE_SIDE }, (_, x) => HALF_BLOCKS[2 * ink(x, top) + ink(x, top + 1)]).join('');
}

export interface Cast {
  readonly target: string;
  readonly steps: number;
  readonly trainerPid: number;
  readonly evaluatorPid: number;
  readonly model: Classifier;
  readonly test: Digits;
}

/** The lines that introduce the demo: some images, and the three processes. */
export function introduction({ target, steps, trainerPid, evaluatorPid, model, test }: Cast, paint: Paint): string[] {
  const who = (name: string, pid: number): string => `  ${name.padEnd(9)}  ${`pid ${pid}`.padEnd(11)}  `;
  return [
    paint('bold', `Shadowkeep demo: ${count(IMAGE_COUNT)} handwritten digits, three processes, gRPC between them`),
    '',
    ...drawImages(test).map((line) => `  ${line}`),
    '',
    `${who('service', process.pid)}holds the EMA (decay ${DECAY}) at ${target}`,
    `${who('trainer', trainerPid)}pushes its ${count(model.values.length)} weights after each of ${count(steps)} steps;`,
    `${' '.repeat(26)}its learning rate of ${LEARNING_RATE} is too large on purpose`,
    `${who('evaluator', evaluatorPid)}pulls the EMA and tests it on ${test.count} held-out images`,
    '',
  ];
}

function count(value: number): string {
  return value.toLocaleString('en');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function scientific(value: number): string {
  return value.toExponential(1);
}

/** The plot shows accuracies from PLOT_MIN to 1 on PLOT_CHARS characters. */
const PLOT_MIN = 0.7;
const PLOT_CHARS = 26;

export function tableHeader(paint: Paint): string {
  const [left, middle, right] = [`${100 * PLOT_MIN} %`, 'raw ○ EMA ●', '100 %'];
  const gap = ' '.repeat((PLOT_CHARS - left.length - middle.length - right.length) / 2);
  return paint('dim', `   step     loss   accuracy raw   accuracy EMA   ${left}${gap}${middle}${gap}${right}`);
}

export function tableRow(row: Row, paint: Paint): string {
  const loss = row.loss === undefined ? '–' : row.loss.toFixed(3);
  return [
    `${row.step}`.padStart(7),
    loss.padStart(9),
    percent(row.accuracyRaw).padStart(15),
    paint('bold', percent(row.accuracyEma).padStart(15)),
    `   ${plot(row, paint)}`,
  ].join('');
}

function plot({ accuracyRaw, accuracyEma }: Row, paint: Paint): string {
  const place = (share: number): number =>
    Math.max(0, Math.round(((share - PLOT_MIN) / (1 - PLOT_MIN)) * (PLOT_CHARS - 1)));
  const cells = new Array<string>(PLOT_CHARS).fill(paint('dim', '·'));
  cells[place(accuracyRaw)] = '○';
  cells[place(accuracyEma)] = paint('bold', '●');
  return cells.join('');
}

/** The lines that end the demo: its results, the checks, and the verdict. */
export function conclusion(summary: Summary, paint: Paint): string[] {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const { steps, seconds, pushedBytes, pulledBytes, rows, checks, ok } = summary;
  const { accuracyEma, accuracyRaw, accuracyRawMedian, difference, differenceBound } = summary;
  const failed = checks.filter((check) => !check.ok).length;
  return [
    '',
    `  moved      ${count(steps)} steps pushed (${megabytes(pushedBytes)}), ${rows.length} shadows pulled (${megabytes(pulledBytes)}), ${seconds.toFixed(1)} s`,
    `  accuracy   EMA ${percent(accuracyEma)}; raw ${percent(accuracyRaw)}, median of its last ${RAW_MEDIAN_STEPS} steps ${percent(accuracyRawMedian)}`,
    `  exactness  ${scientific(difference)} is the largest difference from a float64 EMA;`,
    `             rounding to float32 may add up to ${scientific(differenceBound)}`,
    '',
    ...checks.map((check) => `  ${check.ok ? paint('green', '✓') : paint('red', '✗')} ${check.text}`),
    '',
    ok
      ? paint('green', `OK: ${checks.length} of ${checks.length} checks hold`)
      : paint('red', `FAILED: ${failed} of ${checks.length} checks`),
  ];
}
