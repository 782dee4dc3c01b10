import { AVERAGE_COUNTS, AVERAGE_WORDS, type Bound, type ScheduleKind, scheduleRow } from './average-table.js';

/** A fault of an average: the name of the field as in the proto, the rest of the sentence "must be …", and the value. */
export interface Refusal {
  readonly field: string;
  readonly bound: string;
  readonly value: unknown;
}

/** Values by the names of the table. Undefined and null stand for a field that is left out. */
type Values = Readonly<Record<string, unknown>>;

export function isWithin({ min, isAbove = false, max, isInteger = false }: Bound, value: unknown): value is number {
  if (typeof value !== 'number' || (isInteger && !Number.isSafeInteger(value))) return false;
  return (isAbove ? value > min : value >= min) && value <= max;
}

/** The first parameter of a schedule that is outside of its bounds; undefined: none is. Each must be said. */
export function refusedParameter(kind: ScheduleKind, values: Values): Refusal | undefined {
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  for (const [name, { bound, parameter }] of Object.entries(inPlaceOf)) {
    const [value, other] = [values[name] ?? undefined, values[parameter] ?? undefined];
    if (value === undefined && other !== undefined) continue;
    if (value === undefined) return refusal(name, `given where ${parameter} is not`, 'none');
    if (other !== undefined) return refusal(name, `left out where ${parameter} is given`, value);
    return isWithin(bound, value) ? undefined : refusal(name, bound.text, value);
  }
  for (const [name, { bound }] of Object.entries(parameters)) {
    if (!isWithin(bound, values[name])) return refusal(name, bound.text, values[name]);
  }
  for (const [name, { atMost }] of Object.entries(parameters)) {
    if (atMost === undefined || Number(values[name]) <= Number(values[atMost])) continue;
    return refusal(name, `at most ${snakeCase(atMost)} (${values[atMost]})`, values[name]);
  }
  return undefined;
}

/**
 * The first field outside of its bounds, of those that every average has; undefined: none is. What is not said is right.
 */
export function refusedField(kind: ScheduleKind, values: Values): Refusal | undefined {
  for (const [name, words] of Object.entries(AVERAGE_WORDS)) {
    const value = values[name];
    if (value === undefined || (words as readonly unknown[]).includes(value)) continue;
    return refusal(name, `one of ${words.join(', ')}`, value);
  }
  for (const [name, bound] of Object.entries(AVERAGE_COUNTS)) {
    const value = values[name];
    if (value !== undefined && !isWithin(bound, value)) return refusal(name, bound.text, value);
  }
  const { everyOffset = 0, every = 1 } = values;
  if (Number(everyOffset) >= Number(every)) return refusal('everyOffset', `below every (${every})`, everyOffset);
  const problem = values['biasCorrection'] === true ? biasProblem(kind, values) : undefined;
  return problem === undefined ? undefined : refusal('biasCorrection', `left out: it ${problem}`, true);
}

/**
 * Why a bias is not corrected so; undefined: it is. From ZEROS and from FIRST it is the same average then; what was
 * pushed as INITIAL would have no weight from the first update on.
 */
export function biasProblem(kind: ScheduleKind, { decay, start }: Values): string | undefined {
  const isCorrectable = scheduleRow(kind).isCorrectable === true;
  const found = isCorrectable ? `decay ${decay}` : kind;
  if (!isCorrectable || decay === 1) return `needs a half_life, or a constant decay below 1, got ${found}`;
  return start === 'INITIAL' ? 'needs a start from ZEROS or FIRST, got INITIAL' : undefined;
}

/** `decay_min` of decayMin: the proto's name of a field. */
export function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function refusal(name: string, bound: string, value: unknown): Refusal {
  return { field: snakeCase(name), bound, value };
}
