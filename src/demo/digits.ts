import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { assert } from '../common/index.js';
import { seededRandom } from './random.js';

/**
 * Reads data/digits.csv.gz, which has one image a line and no header:
 *
 *   p0,p1, … ,p63,label\n     pixels row by row, integers 0 … 16; label 0 … 9
 */
export const IMAGE_SIDE = 8;
export const PIXEL_COUNT = IMAGE_SIDE * IMAGE_SIDE;
export const CLASS_COUNT = 10;
const PIXEL_MAX = 16;

/** Number of images of each digit, from the data set's description. There are 1,797 in all. */
export const LABEL_COUNTS: readonly number[] = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
export const IMAGE_COUNT = LABEL_COUNTS.reduce((sum, count) => sum + count);

/** Share of the images that are kept for the test, as is usual. One image is then 0.28 % of accuracy. */
const TEST_SHARE = 0.2;

export interface Digits {
  readonly count: number;
  /** `count` rows of PIXEL_COUNT, scaled to 0 … 1. */
  readonly images: Float32Array;
  readonly labels: Uint8Array;
}

/** Reads the data set that lies beside this module. Throws when its contents are not as described in this file. */
export function loadDigits(): Digits {
  const csv = gunzipSync(readFileSync(new URL('./data/digits.csv.gz', import.meta.url))).toString('latin1');
  return parseDigits(csv);
}

export function parseDigits(csv: string): Digits {
  const lines = csv.trimEnd().split('\n');
  assert(lines.length === IMAGE_COUNT, `the data set has ${IMAGE_COUNT} rows, not ${lines.length}`);
  const images = new Float32Array(IMAGE_COUNT * PIXEL_COUNT);
  const labels = new Uint8Array(IMAGE_COUNT);
  lines.forEach((line, row) => {
    const values = line.split(',').map(Number);
    assert(values.length === PIXEL_COUNT + 1, `row ${row} has ${PIXEL_COUNT + 1} values, not ${values.length}`);
    const label = values.pop()!;
    assert(isIntegerUpTo(label, CLASS_COUNT - 1), `row ${row}: the label is an integer up to ${CLASS_COUNT - 1}`);
    for (const value of values) assert(isIntegerUpTo(value, PIXEL_MAX), `row ${row}: pixels are up to ${PIXEL_MAX}`);
    images.set(
      values.map((value) => value / PIXEL_MAX),
      row * PIXEL_COUNT,
    );
    labels[row] = label;
  });
  const digits = { count: IMAGE_COUNT, images, labels };
  const counts = labelCounts(digits);
  assert(
    counts.every((count, label) => count === LABEL_COUNTS[label]),
    `images per label: ${counts.join(', ')}`,
  );
  return digits;
}

/** Number of images of each digit in `digits`. */
export function labelCounts(digits: Digits): number[] {
  const counts = new Array<number>(CLASS_COUNT).fill(0);
  for (const label of digits.labels) counts[label]! += 1;
  return counts;
}

/** Shuffles the images by `seed` and splits them. Processes with the same seed have the same test images. */
export function splitDigits(digits: Digits, seed: number): { train: Digits; test: Digits } {
  const order = seededRandom(seed, 'split').permutation(digits.count);
  const testCount = Math.round(digits.count * TEST_SHARE);
  return { test: pick(digits, order.subarray(0, testCount)), train: pick(digits, order.subarray(testCount)) };
}

function pick(digits: Digits, rows: Uint32Array): Digits {
  const images = new Float32Array(rows.length * PIXEL_COUNT);
  rows.forEach((row, index) => {
    images.set(imageOf(digits, row), index * PIXEL_COUNT);
  });
  return { count: rows.length, images, labels: Uint8Array.from(rows, (row) => digits.labels[row]!) };
}

/** A view of one image. */
export function imageOf(digits: Digits, row: number): Float32Array {
  return digits.images.subarray(row * PIXEL_COUNT, (row + 1) * PIXEL_COUNT);
}

function isIntegerUpTo(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}
