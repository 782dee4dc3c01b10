import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkAverageName,
  checkRunName,
  checkTensorName,
  namePattern,
  quote,
  ShadowkeepError,
} from '../../src/common/index.js';

const SEED = 20_250_617;

function problemOf(check: () => void): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ShadowkeepError);
    expect((error as ShadowkeepError).reason).toBe('INVALID_NAME');
    return (error as Error).message;
  }
}

describe('names of runs and averages', () => {
  test.each(['r', '0', 'Run-1.final_2', 'a.b', 'x'.repeat(128), 'constructor'])('%j is taken', (name) => {
    expect(problemOf(() => checkRunName(name))).toBeUndefined();
  });

  test.each(['', '.', '-a', '_a', 'a..b', '..', 'a/b', 'a\\b', 'a b', 'a\0', 'ä', '__proto__', 'a\n'])(
    '%j is refused',
    (name) => {
      expect(problemOf(() => checkRunName(name))).toMatch(
        /^run ".*" must match \^\[A-Za-z0-9\]\[A-Za-z0-9\._-\]\*\$ and not contain "\.\."$/,
      );
    },
  );

  test('have a bound each, which the refusal says', () => {
    expect(problemOf(() => checkRunName('x'.repeat(129)))).toBe(
      `run "${'x'.repeat(80)}…" has 129 characters, at most 128 are allowed`,
    );
    expect(problemOf(() => checkAverageName('x'.repeat(64), 'averages[0].name'))).toBeUndefined();
    expect(problemOf(() => checkAverageName('x'.repeat(65), 'averages[0].name'))).toMatch(
      /^averages\[0\]\.name .* at most 64 are allowed$/,
    );
  });
});

describe('names of tensors', () => {
  test.each(['w', ' ', 'layers.0.weight', 'a/b\\c', '.hidden', '层', '😀', 'x'.repeat(512), 'prototype', '__init__'])(
    '%j is taken',
    (name) => {
      expect(problemOf(() => checkTensorName(name, 'name'))).toBeUndefined();
    },
  );

  test.each([
    ['', 'has 0 bytes, 1 to 512 are allowed'],
    ['x'.repeat(513), 'has 513 bytes, 1 to 512 are allowed'],
    ['层'.repeat(171), 'has 513 bytes, 1 to 512 are allowed'],
    ['a\0', 'contains U+0000, which cannot be shown as it is'],
    ['a\u001f', 'contains U+001F, which cannot be shown as it is'],
    ['a\u007f', 'contains U+007F, which cannot be shown as it is'],
    ['a\u009bb', 'contains U+009B, which cannot be shown as it is'],
    ['a\u202e', 'contains U+202E, which cannot be shown as it is'],
    ['\u2066a', 'contains U+2066, which cannot be shown as it is'],
    ['a\u2028', 'contains U+2028, which cannot be shown as it is'],
    ['a\u2029', 'contains U+2029, which cannot be shown as it is'],
    ['a\ud800', 'contains U+D800, which cannot be shown as it is'],
    ['../w', 'contains ".."'],
    ['__proto__', 'is reserved'],
    ['__metadata__', 'is reserved'],
  ])('%j is refused', (name, problem) => {
    expect(problemOf(() => checkTensorName(name, 'tensors[3].name'))).toBe(`tensors[3].name ${quote(name)} ${problem}`);
  });
});

describe('a pattern', () => {
  test(`matches what the same regular expression matches, seed ${SEED}`, () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 10 });
    fc.assert(
      fc.property(text, name, (pattern, candidate) => {
        const expression = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
        expect(namePattern(pattern)(candidate)).toBe(expression.test(candidate));
      }),
      { seed: SEED, numRuns: 5_000 },
    );
  });

  test('is no regular expression', () => {
    expect(namePattern('a+(b)')('aab')).toBe(false);
    expect(namePattern('a+(b)*')('a+(b)c')).toBe(true);
  });

  test('of a million stars is one star', () => {
    const matches = namePattern(`a${'*'.repeat(1_000_000)}b`);
    expect([matches('ab'), matches('axxb'), matches('axx')]).toEqual([true, true, false]);
  });
});

test('a quoted value is cut and has no control characters', () => {
  expect(quote('a"\n')).toBe('"a\\"\\n"');
  expect(quote('x'.repeat(81))).toBe(`"${'x'.repeat(80)}…"`);
  // A cut through a surrogate pair is still valid UTF-8 on the wire.
  expect(() => encodeURI(quote(`${'x'.repeat(79)}😀`))).not.toThrow();
});
