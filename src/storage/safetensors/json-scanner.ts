import { quote } from '../../common/index.js';

const DIGITS = /\d+/y;
const WHITESPACE = /[ \t\n\r]*/y;

/** Something that is not the JSON asked for, and where. */
export class JsonScanError extends Error {}

/**
 * Reads JSON token by token, as the caller expects it. JSON.parse keeps the last of two equal keys and rounds
 * 2^53 + 1 without a word; this refuses both, and nothing it reads becomes a key of an object.
 */
export class JsonScanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads an object; `visit` reads the value of each key. Equal keys are refused. */
  object(visit: (key: string) => void): void {
    const keys = new Set<string>();
    this.#list('{', '}', () => {
      const key = this.string();
      if (keys.has(key)) throw this.error(`the key ${quote(key)} appears twice`);
      keys.add(key);
      this.#expect(':');
      visit(key);
    });
  }

  /** Reads an array; `visit` reads each element. */
  array(visit: () => void): void {
    this.#list('[', ']', visit);
  }

  string(): string {
    this.#expect('"');
    const begin = this.#at - 1;
    while (this.#text[this.#at] !== '"') {
      if (this.#at >= this.#text.length) throw this.error('a string does not end');
      this.#at += this.#text[this.#at] === '\\' ? 2 : 1;
    }
    this.#at += 1;
    return this.#decode(this.#text.slice(begin, this.#at));
  }

  /** A whole number from 0 to 2^53 − 1 in its shortest form. */
  integer(): number {
    this.#match(WHITESPACE);
    const digits = this.#match(DIGITS);
    if (digits === '') throw this.error('expected a whole number');
    if (digits.length > 1 && digits.startsWith('0')) throw this.error(`the number ${digits} starts with 0`);
    const value = Number(digits);
    if (!Number.isSafeInteger(value)) throw this.error(`the number ${digits.slice(0, 20)} is not below 2^53`);
    return value;
  }

  /** Only whitespace may follow. */
  end(): void {
    this.#match(WHITESPACE);
    if (this.#at < this.#text.length) throw this.error('expected the end');
  }

  error(problem: string): JsonScanError {
    return new JsonScanError(`${problem} at character ${this.#at}`);
  }

  #list(open: string, close: string, visit: () => void): void {
    this.#expect(open);
    if (this.#take(close)) return;
    do visit();
    while (this.#take(','));
    this.#expect(close);
  }

  /** One string token: its escapes are left to JSON.parse, which is strict about them. */
  #decode(token: string): string {
    let value: string;
    try {
      value = JSON.parse(token);
    } catch {
      throw this.error('a string has a bad escape or a control character');
    }
    if (token.includes('\\') && !isWellFormed(value)) throw this.error('a string has half of a surrogate pair');
    return value;
  }

  #expect(char: string): void {
    if (!this.#take(char)) throw this.error(`expected ${char}`);
  }

  #take(char: string): boolean {
    this.#match(WHITESPACE);
    if (this.#text[this.#at] !== char) return false;
    this.#at += 1;
    return true;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }
}

/** Half of a surrogate pair is no character and has no UTF-8: a string with one cannot be written and read back. */
export function isWellFormed(value: string): boolean {
  return Buffer.from(value).toString() === value;
}
