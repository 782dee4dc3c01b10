import { type Bound, isWithin, PRECISIONS } from '../../common/index.js';

/** What stands for "no default": the option must be given. */
export const REQUIRED = Symbol('required');

/** One option of a preset: what it may be, and how it reads as text. */
export interface Option<Value> {
  readonly fallback: Value | typeof REQUIRED;
  /** Completes "must be": `a number from 0 to 1`. */
  readonly bound: string;
  /** Said of options that change no number, or that have only one honest value. */
  readonly note?: string;
  /** The value that a text means; undefined when it means none. */
  readonly read: (text: string) => unknown;
  readonly holds: (value: unknown) => value is Value;
}

/** The value of each option of a table. */
export type ValuesOf<Options> = { [Key in keyof Options]: Options[Key] extends Option<infer Value> ? Value : never };

/** As a fallback: the option is required. */
type Fallback<Value> = Value | typeof REQUIRED;

/** A number of the table of averages. */
export function within(bound: Bound, fallback: Fallback<number>): Option<number> {
  const holds = (value: unknown): value is number => isWithin(bound, value);
  return { fallback, bound: bound.text, read: readNumber, holds };
}

/** Decays, weights, shares. */
export function fraction(fallback: Fallback<number>): Option<number> {
  return { fallback, bound: 'a number from 0 to 1', read: readNumber, holds: isNumber((value) => value <= 1) };
}

/** Above 0, up to `max`; infinity only where that is the bound. */
export function positive(fallback: Fallback<number>, max = Number.MAX_VALUE): Option<number> {
  const bound = max === Number.MAX_VALUE ? 'a number above 0' : `a number above 0, at most ${showValue(max)}`;
  return { fallback, bound, read: readNumber, holds: isNumber((value) => value > 0 && value <= max) };
}

export function count(min: number, fallback: Fallback<number>): Option<number> {
  const holds = isNumber((value) => Number.isSafeInteger(value) && value >= min);
  return { fallback, bound: `an integer of at least ${min}`, read: readNumber, holds };
}

export function truth(fallback: Fallback<boolean>): Option<boolean> {
  const read = (text: string) => ({ true: true, false: false })[text];
  return { fallback, bound: 'true or false', read, holds: (value) => typeof value === 'boolean' };
}

/** One of a few words; text may have them in any case. */
export function word<const Word extends string>(words: readonly Word[], fallback: Fallback<Word>): Option<Word> {
  return {
    fallback,
    bound: `one of ${words.join(', ')}`,
    read: (text) => words.find((candidate) => candidate.toLowerCase() === text.toLowerCase()),
    holds: (value): value is Word => (words as readonly unknown[]).includes(value),
  };
}

/** Text of a form of its own, as `1000ba`. */
export function textLike(pattern: RegExp, bound: string, fallback: Fallback<string>): Option<string> {
  const holds = (value: unknown): value is string => typeof value === 'string' && pattern.test(value);
  return { fallback, bound, read: (text) => text, holds };
}

/** At least one, joined by `+` in text. */
export function listOf<Value>(item: Option<Value>, fallback: Fallback<readonly Value[]>): Option<readonly Value[]> {
  return {
    fallback,
    bound: `a list, each ${item.bound}`,
    read: (text) => {
      const items = text.split('+').map(item.read);
      return items.includes(undefined) ? undefined : items;
    },
    holds: (value): value is readonly Value[] => Array.isArray(value) && value.length > 0 && value.every(item.holds),
  };
}

/** May be none, which is also what is taken when it is left out. */
export function optional<Value>(option: Option<Value>): Option<Value | null> {
  return {
    fallback: null,
    bound: `${option.bound}, or none`,
    read: (text) => (text === 'none' ? null : option.read(text)),
    holds: (value): value is Value | null => value === null || option.holds(value),
  };
}

/** Places or speeds up the peer's copy in the trainer's process: any value is taken, none changes a number. */
export function noEffect(fallback: unknown): Option<unknown> {
  const note = 'no effect: the shadow is in the service, in its own precision';
  return { fallback, bound: 'anything', note, read: (text) => text, holds: (_value): _value is unknown => true };
}

/** Has one value that can be honoured; `why` says what to do instead of the others. */
export function only<Value extends boolean | number | null>(value: Value, why: string): Option<Value> {
  const shown = showValue(value);
  return {
    fallback: value,
    bound: `${shown}: ${why}`,
    note: `only ${shown}: ${why}`,
    read: (text) => (text === shown ? value : text),
    holds: (given): given is Value => given === value,
  };
}

/**
 * Says whether the peer averages buffers or copies them. The Python package's EMA does so where its `buffers` is left open;
 * the service is told by the tensors' policies.
 */
export function averagesBuffers(fallback: boolean): Option<boolean> {
  return { ...truth(fallback), note: "what EMA does with buffers; elsewhere the tensors' policies say it" };
}

/** For options about buffers: which tensors are averaged is the run's own. */
export const BUFFERS = "which buffers are averaged or copied is the run's: give them policies";

/** What every preset and schedule takes besides its own options. */
export const COMMON_OPTIONS = {
  name: optional(textLike(/./, 'the name of the average', REQUIRED)),
  precision: optional(word(PRECISIONS, REQUIRED)),
  include: optional(listOf(textLike(/./, 'a name pattern', REQUIRED), REQUIRED)),
  exclude: optional(listOf(textLike(/./, 'a name pattern', REQUIRED), REQUIRED)),
};

/** A value as text gives it. Numbers are as short as JSON has them. */
export function showValue(value: unknown): string {
  if (value === null || value === undefined) return 'none';
  if (Array.isArray(value)) return value.map(showValue).join('+');
  return value === Number.POSITIVE_INFINITY ? 'inf' : String(value);
}

function readNumber(text: string): number | undefined {
  if (text === 'inf') return Number.POSITIVE_INFINITY;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

/** A test for numbers of at least 0 that pass another one. */
function isNumber(isInside: (value: number) => boolean): (value: unknown) => value is number {
  return (value): value is number => typeof value === 'number' && value >= 0 && isInside(value);
}
