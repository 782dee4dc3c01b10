import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { IMAGE_COUNT, imageOf, labelCounts, loadDigits, parseDigits, splitDigits } from '../../src/demo/digits.js';

const data = new URL('../../src/demo/data/', import.meta.url);
const file = readFileSync(new URL('digits.csv.gz', data));
const csv = gunzipSync(file).toString('latin1');

describe('the data set', () => {
  test('is the file that NOTICE names', () => {
    const notice = readFileSync(new URL('NOTICE', data), 'utf8');
    expect(notice).toContain(createHash('sha256').update(file).digest('hex'));
    expect(notice).toContain('10.24432/C50P49');
    expect(notice).toContain('CC BY 4.0');
  });

  test('has 1,797 images of known labels, scaled to 0 … 1', () => {
    const digits = loadDigits();
    expect(digits.count).toBe(1797);
    expect(labelCounts(digits)).toEqual([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    expect(Math.min(...digits.images)).toBe(0);
    expect(Math.max(...digits.images)).toBe(1);
    // The first row of the file: 0,0,5,13,9,1,0,0 … 0
    expect([...imageOf(digits, 0).subarray(0, 8)]).toEqual([0, 0, 5, 13, 9, 1, 0, 0].map((pixel) => pixel / 16));
    expect(digits.labels[0]).toBe(0);
  });

  test.each([
    ['a row too few', csv.slice(csv.indexOf('\n') + 1), /1797 rows, not 1796/],
    ['a pixel too few', csv.replace(/^0,/, ''), /row 0 has 65 values, not 64/],
    ['a pixel over 16', csv.replace(/^0,/, '17,'), /row 0: pixels are up to 16/],
    ['a pixel that is no number', csv.replace(/^0,/, 'x,'), /row 0: pixels are up to 16/],
    ['a label over 9', csv.replace(/0\n/, '10\n'), /row 0: the label is an integer up to 9/],
    ['another label', csv.replace(/0\n/, '1\n'), /images per label: 177, 183/],
  ])('%s is refused', (_, broken, message) => {
    expect(() => parseDigits(broken)).toThrow(message);
  });
});

describe('splitDigits', () => {
  const digits = loadDigits();

  test('keeps a fifth for the test and loses no image', () => {
    const { train, test: held } = splitDigits(digits, 1);
    expect(held.count).toBe(359);
    expect(train.count + held.count).toBe(IMAGE_COUNT);
    const sums = labelCounts(train).map((count, label) => count + labelCounts(held)[label]!);
    expect(sums).toEqual(labelCounts(digits));
    const pixels = (part: Float32Array) => part.reduce((sum, value) => sum + value, 0);
    expect(pixels(train.images) + pixels(held.images)).toBeCloseTo(pixels(digits.images), 1);
  });

  test('is the same for the same seed, and another for another seed', () => {
    const pixels = (seed: number) => Buffer.from(splitDigits(digits, seed).test.images.buffer);
    expect(pixels(5).equals(pixels(5))).toBe(true);
    expect(pixels(5).equals(pixels(6))).toBe(false);
  });
});
