import { describe, expect, test } from 'vitest';
import { UsageError } from '../../../src/cli/exit.js';
import { byteSize, duration, integer, list, oneOf } from '../../../src/cli/flags/values.js';

describe('byteSize', () => {
  const parse = byteSize('--memory', 64 << 20, 2 ** 40);

  test.each([
    ['67108864', 2 ** 26],
    ['64MiB', 2 ** 26],
    ['64 mib', 2 ** 26],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['5GB', 5e9],
    ['1TiB', 2 ** 40],
  ])('%s', (text, bytes) => {
    expect(parse(text)).toBe(bytes);
  });

  test.each(['', '1KiB', '2TiB', '-1', '1e9', '64 parsecs', 'NaN', '0x40000000', '64MiB extra'])('not %j', (text) => {
    expect(() => parse(text)).toThrow(
      new UsageError(`--memory must be a size between 64MiB and 1TiB (as 512MiB or 4GiB), got ${JSON.stringify(text)}`),
    );
  });
});

describe('duration', () => {
  const parse = duration('--wait', 3_600_000);

  test.each([
    ['0s', 0],
    ['250ms', 250],
    ['1.5s', 1_500],
    ['5m', 300_000],
    ['1h', 3_600_000],
  ])('%s', (text, ms) => {
    expect(parse(text)).toBe(ms);
  });

  test.each(['', '5', '61m', '-1s', '1d', 's'])('not %j', (text) => {
    expect(() => parse(text)).toThrow(/^--wait must be a duration up to 1h .*, got /);
  });
});

describe('integer', () => {
  const parse = integer('--every', 1, 100);

  test('takes its bounds and what is between', () => {
    expect(['1', '42', '100'].map(parse)).toEqual([1, 42, 100]);
  });

  test.each(['', '0', '101', '-5', '1.5', '1e1', ' 7', 'seven'])('not %j', (text) => {
    expect(() => parse(text)).toThrow(`--every must be an integer from 1 to 100, got ${JSON.stringify(text)}`);
  });
});

test('oneOf takes any case, and names its words', () => {
  const parse = oneOf('--dtype', ['F32', 'BF16']);
  expect(parse('bf16')).toBe('BF16');
  expect(() => parse('F8')).toThrow('--dtype must be one of F32, BF16, got "F8"');
});

test('list adds repeated flags and commas', () => {
  const add = list(integer('--n', 0));
  expect(add('3', add('1,2', undefined))).toEqual([1, 2, 3]);
});
