import { expect, test } from 'vitest';
import {
  formatBytes,
  formatBytesExact,
  formatCount,
  formatDuration,
  formatOptional,
  formatShare,
  formatWeight,
} from '../../../src/cli/text/format.js';

test('bytes', () => {
  expect([0, 1023, 1024, 1.5 * 2 ** 20, 2 ** 30, 5 * 2 ** 40, 2 ** 51].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 MiB',
    '1.0 GiB',
    '5.0 TiB',
    '2048.0 TiB',
  ]);
  expect([0, 1000, 64 << 20, 1536].map(formatBytesExact)).toEqual(['0', '1000', '64MiB', '1536']);
});

test('counts, times, weights', () => {
  expect([0, 9_999, 12_345, 25_600_000, 1.2e9].map(formatCount)).toEqual(['0', '9999', '12.3 k', '25.6 M', '1.2 G']);
  expect([0, 999, 1_500, 600_000, 36_000_000].map(formatDuration)).toEqual([
    '0 ms',
    '999 ms',
    '1.5 s',
    '10 min',
    '10.0 h',
  ]);
  expect([undefined, 1, 1 - 0.999, 1 / 3].map(formatWeight)).toEqual(['-', '1', '0.001', '0.333333']);
  expect([undefined, 0].map(formatOptional)).toEqual(['-', '0']);
});

test('shares', () => {
  expect([undefined, 0, 1, 0.12345, 3.2e-7].map(formatShare)).toEqual(['-', '0 %', '100 %', '12.3 %', '0.000032 %']);
});
