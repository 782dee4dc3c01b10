import { describe, expect, test } from 'vitest';
import { type AverageSpec, checkSameAverages } from '../../../src/engine/averages/index.js';
import { ema, mean, refusal } from '../fixtures.js';

describe('the averages of a second OpenRun', () => {
  const ours: AverageSpec[] = [ema('a', 0.5, 'FIRST'), mean('b', 'F64')];

  test('are the same when all fields are', () => {
    expect(() => checkSameAverages('r', ours, structuredClone(ours))).not.toThrow();
  });

  test('are the same when one was said by a preset', () => {
    const theirs = ours.map((average) => ({ ...average, preset: 'textbook:decay=0.5' }));
    expect(() => checkSameAverages('r', ours, theirs)).not.toThrow();
  });

  test.each<[string, AverageSpec[], RegExp]>([
    ['one is missing', ours.slice(0, 1), /average 1 "b" is missing in the request/],
    ['one more', [...ours, mean('c')], /average 2 "c" is not in the run/],
    ['another name', [{ ...ours[0]!, name: 'x' }, ours[1]!], /average 0 "a" is "x" in the request/],
    ['another order', ours.toReversed(), /average 0 "a" is "b"/],
    ['another decay', [ema('a', 0.9, 'FIRST'), ours[1]!], /"a" has schedule .*0\.5.*0\.9.* in the request/],
    ['another kind', [{ ...mean('a') }, ours[1]!], /"a" has schedule .*constant.*mean/],
    ['another start', [ema('a', 0.5, 'ZEROS'), ours[1]!], /"a" has start "FIRST", "ZEROS" in the request/],
    ['another cadence', [{ ...ours[0]!, every: 2 }, ours[1]!], /"a" has every 1, 2 in the request/],
    ['another precision', [ours[0]!, mean('b')], /"b" has precision "F64", "F32" in the request/],
  ])('differ: %s', (_, theirs, text) => {
    expect(() => checkSameAverages('r', ours, theirs)).toThrow(expect.toSatisfy(refusal('AVERAGES_MISMATCH', text)));
  });
});
