import { type ErrorReason, ShadowkeepError } from '../../common/index.js';

/** Checks of single fields, shared by all validators. Each error names the field, its value and its bound. */

export function invalidField(field: string, problem: string, reason: ErrorReason = 'INVALID_FIELD'): ShadowkeepError {
  return new ShadowkeepError(reason, `${field} ${problem}`, { metadata: { field } });
}

/**
 * Checks that a field is an integer from `min` to `max`. A 64-bit field arrives as a JavaScript number, and one over
 * 2^53 − 1 is refused, because 2^53 and 2^53 + 1 are the same number in JavaScript.
 */
export function integer(field: string, value: number, min: number, max: number, reason?: ErrorReason): number {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw invalidField(field, `must be an integer from ${min} to ${max}, got ${value}`, reason);
  }
  return value;
}

export function nonNegative(field: string, value: number): number {
  return integer(field, value, 0, Number.MAX_SAFE_INTEGER);
}

/** Checks that an enum field has one of `names`. A number is a value that this server's proto does not know. */
export function known<Name extends string>(field: string, value: Name | number, names: readonly Name[]): Name {
  const found = names.find((name) => name === value);
  if (found === undefined) throw invalidField(field, `must be one of ${names.join(', ')}, got ${value}`);
  return found;
}
