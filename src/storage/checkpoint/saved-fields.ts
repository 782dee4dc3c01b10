import { StorageError } from '../errors.js';
import { damagedFile, isRecord } from './sealed-json.js';

/*
 * Readers of JSON values whose form is known: each gives a value its type, or refuses it with its place, what was found
 * and what was expected.
 */

/** `where` is the value's place in its file: `state.averages[2].pushes`, empty for all of it. Throws InvalidField. */
export type Read<Value> = (value: unknown, where: string) => Value;

/** Characters of a found value that an error shows. */
const SHOWN_CHARS_MAX = 60;

export class InvalidField extends Error {
  /** The field is none that the reader knows. */
  readonly isUnknown: boolean;

  constructor(where: string, found: unknown, expected: string, isUnknown = false) {
    const shown = found === undefined ? 'missing' : (JSON.stringify(found) ?? String(found)).slice(0, SHOWN_CHARS_MAX);
    super(
      isUnknown
        ? `it has the field ${where}, which this version does not know`
        : `${where} is ${shown}, expected ${expected}`,
    );
    this.isUnknown = isUnknown;
  }
}

/**
 * What `read` gives of the file at `path`. Throws StorageError for an InvalidField: TOO_NEW for a field that this program does
 * not know, DAMAGED for any other.
 */
export function readFields<Value>(path: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof InvalidField)) throw error;
    if (error.isUnknown) {
      throw new StorageError('TOO_NEW', path, `${path} was written by a newer version: ${error.message}`);
    }
    throw damagedFile(path, error.message);
  }
}

/** A value that somebody else reads. */
export const anything: Read<unknown> = (value) => value;

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): Read<number> {
  return checked(`an integer from ${min} to ${max}`, (value): value is number => {
    return Number.isSafeInteger(value) && isBetween(value, min, max);
  });
}

export function number(min: number, max = Number.MAX_VALUE): Read<number> {
  const isNumber = (value: unknown): value is number => isBetween(value, min, max);
  return checked(max === Number.MAX_VALUE ? `a number of at least ${min}` : `a number from ${min} to ${max}`, isNumber);
}

export function text(charsMin: number, charsMax = Number.MAX_SAFE_INTEGER): Read<string> {
  const chars = charsMax === Number.MAX_SAFE_INTEGER ? `at least ${charsMin}` : `${charsMin} to ${charsMax}`;
  return checked(`a text of ${chars} characters`, (value): value is string => {
    return typeof value === 'string' && isBetween(value.length, charsMin, charsMax);
  });
}

export function oneOf<Value extends string>(values: readonly Value[]): Read<Value> {
  const isOne = (value: unknown): value is Value => (values as readonly unknown[]).includes(value);
  return checked(`one of ${values.join(', ')}`, isOne);
}

/** A field that may be absent. */
export function optional<Value>(read: Read<Value>): Read<Value | undefined> {
  return (value, where) => (value === undefined ? undefined : read(value, where));
}

export function list<Value>(read: Read<Value>, countMin = 0, countMax = Number.MAX_SAFE_INTEGER): Read<Value[]> {
  return (value, where) => {
    if (!Array.isArray(value)) throw new InvalidField(where, value, 'a list');
    if (!isBetween(value.length, countMin, countMax)) {
      throw new InvalidField(`the length of ${where}`, value.length, `${countMin} to ${countMax}`);
    }
    return value.map((entry, index) => read(entry, `${where}[${index}]`));
  };
}

export function tuple<First, Second>(first: Read<First>, second: Read<Second>): Read<[First, Second]> {
  return (value, where) => {
    if (!Array.isArray(value) || value.length !== 2) throw new InvalidField(where, value, 'a list of two');
    return [first(value[0], `${where}[0]`), second(value[1], `${where}[1]`)];
  };
}

/** An object with these fields and no others; without fields, one of any. */
export function object(): Read<object>;
export function object<Fields extends object>(fields: { [Name in keyof Fields]: Read<Fields[Name]> }): Read<Fields>;
export function object(fields?: Readonly<Record<string, Read<unknown>>>): Read<object> {
  const readers = Object.entries(fields ?? {});
  return (value, where) => {
    if (!isRecord(value)) throw new InvalidField(where, value, 'an object');
    if (fields === undefined) return value;
    const before = where === '' ? '' : `${where}.`;
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(fields, name)) throw new InvalidField(`${before}${name}`, undefined, '', true);
    }
    const found: Record<string, unknown> = {};
    for (const [name, read] of readers) {
      found[name] = read(Object.hasOwn(value, name) ? value[name] : undefined, `${before}${name}`);
    }
    return found;
  };
}

function checked<Value>(expected: string, isValue: (value: unknown) => value is Value): Read<Value> {
  return (value, where) => {
    if (!isValue(value)) throw new InvalidField(where, value, expected);
    return value;
  };
}

function isBetween(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && value >= min && value <= max;
}
