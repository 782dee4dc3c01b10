import {
  checkPrintable,
  matchAll,
  PATTERN_CHARS_MAX,
  PATTERN_COUNT_MAX,
  PATTERN_SUM_CHARS_MAX,
  PATTERN_SUM_COUNT_MAX,
  quote,
  type ShadowkeepError,
} from '../../common/index.js';
import {
  type AverageSpec,
  choiceOf,
  idlePatternOf,
  isFiltered,
  type Policy,
  type TensorList,
} from '../../engine/index.js';
import type { PolicyRule__Output } from '../../protocol/index.js';
import { integer, invalidField, known } from './fields.js';

const POLICIES = ['POLICY_UNSPECIFIED', 'AVERAGE', 'COPY', 'COPY_ONCE', 'IGNORE'] as const;

/** The policy that a field names; undefined when it is unspecified. Throws INVALID_FIELD. */
export function policyOf(field: string, policy: PolicyRule__Output['policy']): Policy | undefined {
  const found = known(field, policy, POLICIES);
  return found === 'POLICY_UNSPECIFIED' ? undefined : found;
}

/**
 * Checks policy rules and returns what they say of a tensor, by its index: the last rule that matches its name counts.
 * Each rule must match a tensor. Yields between slices. Throws INVALID_FIELD.
 */
export function* validatePolicies(
  rules: readonly PolicyRule__Output[],
  tensors: readonly { readonly name: string }[],
): Generator<void, (index: number) => Policy | undefined> {
  integer('policies length', rules.length, 0, PATTERN_COUNT_MAX);
  const policies = rules.map(({ pattern, policy }, index) => {
    const field = `policies[${index}]`;
    checkPattern(`${field}.pattern`, pattern);
    const found = policyOf(`${field}.policy`, policy);
    if (found === undefined) throw invalidField(`${field}.policy`, 'is required');
    return found;
  });
  const patterns = rules.map(({ pattern }) => pattern);
  const hasMatched = new Set<number>();
  const ruled = new Int16Array(tensors.length).fill(-1);
  yield* matchAll(patterns, tensors, 'policies', (tensor, pattern) => {
    hasMatched.add(pattern);
    ruled[tensor] = Math.max(ruled[tensor]!, pattern);
  });
  const idle = patterns.findIndex((_, index) => !hasMatched.has(index));
  if (idle >= 0) throw matchesNothing(`policies[${idle}].pattern`, patterns[idle]!, 'INVALID_FIELD');
  return (index) => policies[ruled[index]!];
}

/** Checks that a name pattern has a legal length and only characters that a person can see. */
export function checkPattern(field: string, pattern: string, reason?: 'INVALID_AVERAGE'): void {
  integer(`${field} length`, pattern.length, 1, PATTERN_CHARS_MAX, reason);
  checkPrintable(pattern, field);
}

/** Checks the number and the length of all patterns of a run together: of its policies and of all its averages. */
export function checkPatternSum(patterns: readonly string[]): void {
  integer('patterns of averages and policies together', patterns.length, 0, PATTERN_SUM_COUNT_MAX);
  const chars = patterns.reduce((sum, pattern) => sum + pattern.length, 0);
  integer('characters of the patterns of averages and policies together', chars, 0, PATTERN_SUM_CHARS_MAX);
}

/**
 * Throws INVALID_AVERAGE when a pattern of an average matches no averaged tensor, or when the patterns leave the
 * average no tensor. `chooseTensors` must have run for these tensors and this average: it matches in slices, and this
 * looks it up.
 */
export function checkFilters(field: string, average: AverageSpec, tensors: TensorList): void {
  if (!isFiltered(average)) return;
  const idle = idlePatternOf(tensors, average);
  if (idle !== undefined) {
    const { side, index } = idle;
    throw matchesNothing(`${field}.${side}[${index}]`, average[side][index]!, 'INVALID_AVERAGE');
  }
  const isTaken = choiceOf(tensors, average);
  let index = 0;
  while (index < tensors.length && !isTaken(index)) index += 1;
  if (index === tensors.length) {
    throw invalidField(`${field}.exclude`, `leaves ${quote(average.name)} no tensor`, 'INVALID_AVERAGE');
  }
}

function matchesNothing(field: string, pattern: string, reason: 'INVALID_FIELD' | 'INVALID_AVERAGE'): ShadowkeepError {
  return invalidField(field, `${quote(pattern)} matches no tensor that it could apply to`, reason);
}
