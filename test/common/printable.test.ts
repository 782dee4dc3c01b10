import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { escapeUnprintable, quote } from '../../src/common/index.js';
import { firstUnprintable } from '../../src/common/printable.js';

const SEED = 20_261_127;

/** One of each kind: C0, DEL, C1, zero width, bidirectional, separators, a format outside of the first plane, a half. */
const UNPRINTABLE: [character: string, escaped: string][] = [
  ['\0', '\\u0000'],
  ['\x07', '\\u0007'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\x1b', '\\u001b'],
  ['\x7f', '\\u007f'],
  ['\u0085', '\\u0085'],
  ['\u009b', '\\u009b'],
  ['\u00ad', '\\u00ad'],
  ['\u061c', '\\u061c'],
  ['\u200b', '\\u200b'],
  ['\u200f', '\\u200f'],
  ['\u2028', '\\u2028'],
  ['\u2029', '\\u2029'],
  ['\u202e', '\\u202e'],
  ['\u2066', '\\u2066'],
  ['\ufeff', '\\ufeff'],
  ['\u{e0001}', '\\udb40\\udc01'],
  ['\ud800', '\\ud800'],
];

const hex = (character: string) => character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0');

describe('what cannot be printed', () => {
  test.each(UNPRINTABLE)('%j', (character, escaped) => {
    expect(firstUnprintable(`a${character}b`)).toBe(hex(character));
    expect(escapeUnprintable(`a${character}b${character}`)).toBe(`a${escaped}b${escaped}`);
  });

  test.each(['', 'layers.0.weight', ' ', 'é', '层', '😀', '…', '"\\'])('%j can', (text) => {
    expect(firstUnprintable(text)).toBeUndefined();
    expect(escapeUnprintable(text)).toBe(text);
  });

  test('is gone from every text, and JSON says the same as before', () => {
    const any = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(any, (text) => {
        expect(firstUnprintable(escapeUnprintable(text))).toBeUndefined();
        expect(firstUnprintable(quote(text))).toBeUndefined();
        expect(JSON.parse(escapeUnprintable(JSON.stringify(text)))).toBe(text);
      }),
      { seed: SEED },
    );
  });
});
