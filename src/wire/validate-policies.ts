import { namePattern, PATTERN_CHARS_MAX, PATTERN_COUNT_MAX, quote, type ShadowkeepError } from '../common/index.js';
import type { AverageSpec, Policy, TensorSpec } from '../engine/index.js';
import { tensorsOf } from '../engine/index.js';
import { integer, invalidField, known } from './fields.js';
import type { PolicyRule__Output } from './gen/shadowkeep/v1/PolicyRule.js';

const POLICIES = ['POLICY_UNSPECIFIED', 'AVERAGE', 'COPY', 'COPY_ONCE', 'IGNORE'] as const;

/** The policy of a field, undefined when it is unspecified. */
export function policyOf(field: string, policy: PolicyRule__Output['policy']): Policy | undefined {
  const found = known(field, policy, POLICIES);
  return found === 'POLICY_UNSPECIFIED' ? undefined : found;
}

/** What the rules say of a tensor's name: the last one that matches; each must match one of `names`. */
export function validatePolicies(
  rules: readonly PolicyRule__Output[],
  names: readonly string[],
): (name: string) => Policy | undefined {
  integer('policies length', rules.length, 0, PATTERN_COUNT_MAX);
  const checked = rules.map(({ pattern, policy }, index) => {
    const field = `policies[${index}]`;
    integer(`${field}.pattern length`, pattern.length, 1, PATTERN_CHARS_MAX);
    const matches = namePattern(pattern);
    if (!names.some(matches)) throw matchesNothing(`${field}.pattern`, pattern, 'INVALID_FIELD');
    const found = policyOf(`${field}.policy`, policy);
    if (found === undefined) throw invalidField(`${field}.policy`, 'is required');
    return { matches, policy: found };
  });
  return (name) => checked.findLast((rule) => rule.matches(name))?.policy;
}

/** Throws INVALID_AVERAGE when a pattern of an average matches no averaged tensor, or all of them leave it none. */
export function checkFilters(field: string, average: AverageSpec, tensors: readonly TensorSpec[]): void {
  const names = tensors.filter(({ policy }) => policy === 'AVERAGE').map(({ name }) => name);
  for (const side of ['include', 'exclude'] as const) {
    for (const [index, pattern] of average[side].entries()) {
      if (names.some(namePattern(pattern))) continue;
      throw matchesNothing(`${field}.${side}[${index}]`, pattern, 'INVALID_AVERAGE');
    }
  }
  const isFiltered = average.include.length > 0 || average.exclude.length > 0;
  if (isFiltered && tensorsOf({ tensors }, average).length === 0) {
    throw invalidField(`${field}.exclude`, `leaves ${quote(average.name)} no tensor`, 'INVALID_AVERAGE');
  }
}

function matchesNothing(field: string, pattern: string, reason: 'INVALID_FIELD' | 'INVALID_AVERAGE'): ShadowkeepError {
  return invalidField(field, `${quote(pattern)} matches no tensor that it could apply to`, reason);
}
