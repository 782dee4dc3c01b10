import { type Bound, isWithin, PRECISIONS, type Precision } from '../../common/index.js';

/** Stands for the default of an option that must be given. */
export const REQUIRED = Symbol('required');

/** One option of a preset: its default, which values it takes, and how they are read from text. */
export interface Option<Value> {
  readonly fallback: Value | typeof REQUIRED;
  /** The end of an error that says "must be", such as `a number from 0 to 1`. */
  readonly bound: string;
  /** Says of an option why it changes no number, or why it takes only one value. */
  readonly note?: string;
  /** The value that a text means; undefined for a text that means no value. */
  readonly read: (text: string) => unknown;
  readonly holds: (value: unknown) => value is Value;
}

/** The value of each option of a table. */
export type ValuesOf<Options> = { [Key in keyof Options]: Options[Key] extends Option<infer Value> ? Value : never };

/** The default of an option, or REQUIRED. */
type Fallback<Value> = Value | typeof REQUIRED;

/** An option that is a number within a bound of the table of averages. */
export function within(bound: Bound, fallback: Fallback<number>): Option<number> {
  const holds = (value: unknown): value is number => isWithin(bound, value);
  return { fallback, bound: bound.text, read: readNumber, holds };
}

/** An option that is a number from 0 to 1, as decays, weights and shares are. */
export function fraction(fallback: Fallback<number>): Option<number> {
  return { fallback, bound: 'a number from 0 to 1', read: readNumber, holds: isNumber((value) => value <= 1) };
}

/** An option that is a number above 0 and up to `max`. Infinity is taken only if `max` is infinity. */
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

/** An option that is one of a few words, which text may write in any case. */
export function word<const Word extends string>(words: readonly Word[], fallback: Fallback<Word>): Option<Word> {
  return {
    fallback,
    bound: `one of ${words.join(', ')}`,
    read: (text) => words.find((candidate) => candidate.toLowerCase() === text.toLowerCase()),
    holds: (value): value is Word => (words as readonly unknown[]).includes(value),
  };
}

/** An option that is text of a certain form, such as `1000ba`. */
export function textLike(pattern: RegExp, bound: string, fallback: Fallback<string>): Option<string> {
  const holds = (value: unknown): value is string => typeof value === 'string' && pattern.test(value);
  return { fallback, bound, read: (text) => text, holds };
}

/** An option that is a list with at least one item. Text joins the items by `+`. */
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

/** An option that may be none, which is its default. */
export function optional<Value>(option: Option<Value>): Option<Value | null> {
  return {
    fallback: null,
    bound: `${option.bound}, or none`,
    read: (text) => (text === 'none' ? null : option.read(text)),
    holds: (value): value is Value | null => value === null || option.holds(value),
  };
}

/** An option about where the peer keeps its copy or how fast it is. Any value is taken, and none changes a number. */
export function noEffect(fallback: unknown): Option<unknown> {
  const note = 'no effect: the shadow is in the service, in its own precision';
  return { fallback, bound: 'anything', note, read: (text) => text, holds: (_value): _value is unknown => true };
}

/** An option of which only one value can be honoured. `why` says what to do instead of giving another one. */
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
 * An option that says whether the peer averages a model's buffers or copies them. The Python package's EMA does as it
 * says unless its own `buffers` is given; other clients say it by the policies of the tensors.
 */
export function averagesBuffers(fallback: boolean): Option<boolean> {
  return { ...truth(fallback), note: "what EMA does with buffers; elsewhere the tensors' policies say it" };
}

/** Why an option about single buffers cannot be honoured: which tensors are averaged is a matter of the run. */
export const BUFFERS = "which buffers are averaged or copied is the run's: give them policies";

/** The options that every preset and schedule takes in addition to its own. */
export const COMMON_OPTIONS = {
  name: optional(textLike(/./, 'the name of the average', REQUIRED)),
  precision: optional(word(PRECISIONS, REQUIRED)),
  include: optional(listOf(textLike(/./, 'a name pattern', REQUIRED), REQUIRED)),
  exclude: optional(listOf(textLike(/./, 'a name pattern', REQUIRED), REQUIRED)),
};

/** The text of a value, which `read` reads back. Numbers are as short as in JSON. */
export function showValue(value: unknown): string {
  if (value === null || value === undefined) return 'none';
  if (Array.isArray(value)) return value.map(showValue).join('+');
  return value === Number.POSITIVE_INFINITY ? 'inf' : String(value);
}

function readNumber(text: string): number | undefined {
  if (text === 'inf') return Number.POSITIVE_INFINITY;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

/** Makes a test for numbers of at least 0 that also pass `isInside`. */
function isNumber(isInside: (value: number) => boolean): (value: unknown) => value is number {
  return (value): value is number => typeof value === 'number' && value >= 0 && isInside(value);
}

const PRECISION_OF = { float32: 'F32', float64: 'F64' } as const satisfies Record<string, Precision>;

type ShadowDType = keyof typeof PRECISION_OF;

/** An option that is the dtype of the peer's accumulator. No narrower dtype is taken: a shadow has at least float32. */
export function shadowDType(): Option<ShadowDType | null> {
  return optional(word(Object.keys(PRECISION_OF) as ShadowDType[], REQUIRED));
}

export function precisionOf(dtype: ShadowDType | null): { precision?: Precision } {
  return dtype === null ? {} : { precision: PRECISION_OF[dtype] };
}
