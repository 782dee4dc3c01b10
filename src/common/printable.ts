/**
 * Characters that a terminal obeys (C0, DEL, C1), that hide or turn what stands beside them (zero width, bidirectional),
 * that break a line for some readers only (U+2028, U+2029), and halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const EACH_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu');

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** The first character of a text that cannot be shown as it is, in hexadecimal; undefined: all can. */
export function firstUnprintable(text: string): string | undefined {
  const found = UNPRINTABLE.exec(text)?.[0].codePointAt(0);
  return found?.toString(16).toUpperCase().padStart(4, '0');
}

/** A text as it may reach a person or a terminal: each unprintable character as `\u001b`. JSON stays the same JSON. */
export function escapeUnprintable(text: string): string {
  return text.replace(EACH_UNPRINTABLE, (character) => SHORT_ESCAPES[character] ?? escapeUnits(character));
}

function escapeUnits(character: string): string {
  const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}
