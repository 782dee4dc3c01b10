import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  matchAll,
  namePattern,
  PATTERN_COUNT_MAX,
  PATTERN_STAR_CHARS_MAX,
  PATTERN_WORK_MAX,
  TENSOR_COUNT_MAX,
  toEnd,
} from '../../src/common/index.js';
import { NamePatterns } from '../../src/common/name-patterns.js';

const SEED = 20_261_128;

const matchesOf = (patterns: readonly string[], names: readonly string[]): string[] => {
  const found: string[] = [];
  const tensors = names.map((name) => ({ name }));
  const work = matchAll(patterns, tensors, 'names', (name, pattern) => found.push(`${name} ${pattern}`));
  toEnd(work);
  return found.sort();
};

const expectedOf = (patterns: readonly string[], names: readonly string[]): string[] =>
  names
    .flatMap((name, at) => patterns.flatMap((pattern, index) => (namePattern(pattern)(name) ? [`${at} ${index}`] : [])))
    .sort();

describe('many patterns at once', () => {
  test(`match what each of them matches, and say so once, seed ${SEED}`, () => {
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '*'), minLength: 1, maxLength: 9 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 });
    fc.assert(
      fc.property(
        fc.array(pattern, { minLength: 1, maxLength: 20 }),
        fc.array(name, { maxLength: 8 }),
        (patterns, names) => {
          expect(matchesOf(patterns, names)).toEqual(expectedOf(patterns, names));
        },
      ),
      { seed: SEED, numRuns: 3_000 },
    );
  });

  test('that repeat, contain one another or are stars alone', () => {
    const patterns = ['*', '**', 'a*a', 'a*a', '*aa*', '*a*a*a*', 'aaa', 'aaa', '*', 'a*', '*a', 'aa*aa'];
    const names = ['', 'a', 'aa', 'aaa', 'aaaa', 'ab', 'baab'];
    expect(matchesOf(patterns, names)).toEqual(expectedOf(patterns, names));
  });

  test('cost about the length of a name, whatever their number and kind', () => {
    const kinds: ((index: number) => string)[] = [
      (index) => `layer.${index}.weight`,
      (index) => `layer.${index}.*`,
      (index) => `*.${index}.bias`,
      (index) => `*.${index}.*`,
      (index) => `model.*.${index}.*.weight`,
      (index) => `model*.${index}.weight`,
    ];
    for (const kind of kinds) {
      const compiled = toEnd(
        NamePatterns.compile(Array.from({ length: PATTERN_COUNT_MAX }, (_, index) => kind(index))),
      );
      const name = 'model.decoder.layer.517.weight';
      expect(compiled.match(name, () => undefined)).toBeLessThan(4 * name.length);
    }
  });

  test('yield within a bounded amount of work, while they are compiled and while they match', () => {
    const patterns = Array.from({ length: PATTERN_COUNT_MAX }, (_, index) => `*.${index}.block.*`);
    const tensors = Array.from({ length: 20_000 }, (_, index) => ({ name: `model.${index}.block.attention.weight` }));
    const chars = tensors.reduce((sum, { name }) => sum + name.length, 0);
    let yields = 0;
    for (const _ of matchAll(patterns, tensors, 'names', () => undefined)) yields += 1;
    expect(yields).toBeGreaterThan(chars / 2 ** 16);
  });

  test('that are too many characters are refused before they are compiled, with the figures', () => {
    const star = `${'x'.repeat(1_000)}*`;
    const patterns = new Array<string>(200).fill(star);
    expect(() => matchesOf(patterns, ['a'])).toThrow(
      `names with stars have ${200 * star.length} characters together, at most ${PATTERN_STAR_CHARS_MAX} are allowed`,
    );
  });

  test('that are too much work are refused while they match, with the figures', () => {
    const patterns = Array.from({ length: PATTERN_COUNT_MAX }, (_, index) => `*a*a*${'b'.repeat(1 + (index % 8))}`);
    const names = new Array<string>(TENSOR_COUNT_MAX).fill('a'.repeat(500));
    expect(() => matchesOf(patterns, names)).toThrow(
      new RegExp(
        `^names are too much work: 1024 patterns over 65536 tensors cost \\d+ comparisons for the first \\d+, at most ${PATTERN_WORK_MAX} are allowed for all$`,
      ),
    );
  });
});
