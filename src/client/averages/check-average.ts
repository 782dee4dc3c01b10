import {
  AVERAGE_DEFAULTS,
  type Refusal,
  refusedField,
  refusedParameter,
  SCHEDULE_KINDS,
  ShadowkeepError,
  scheduleRow,
  shown,
} from '../../common/index.js';
import type { AverageSpec } from './spec.js';

/**
 * Throws INVALID_AVERAGE for a value that the service would refuse, and for a field that its protocol does not have.
 */
export function checkAverage({ name, schedule, ...fields }: AverageSpec): void {
  const kind = SCHEDULE_KINDS.find((known) => known === schedule?.kind);
  if (kind === undefined) {
    const found = { field: 'schedule.kind', bound: `one of ${SCHEDULE_KINDS.join(', ')}`, value: schedule?.kind };
    throw refusedError(name, found);
  }
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const { kind: _, ...given } = schedule;
  const unknown = [
    ...Object.keys(fields).filter((field) => !Object.hasOwn(AVERAGE_DEFAULTS, field)),
    ...Object.keys(given).filter((field) => !Object.hasOwn(parameters, field) && !Object.hasOwn(inPlaceOf, field)),
  ];
  if (unknown[0] !== undefined) {
    throw invalidAverage(name, unknown[0], `is no field of an average with schedule ${kind}`);
  }
  const refusal = refusedParameter(kind, given) ?? refusedField(kind, { ...fields, ...given });
  if (refusal !== undefined) throw refusedError(name, refusal);
}

function refusedError(name: string, { field, bound, value }: Refusal): ShadowkeepError {
  return invalidAverage(name, field, `must be ${bound}, got ${shown(value)}`);
}

function invalidAverage(name: string, field: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_AVERAGE', `${name}: ${field} ${problem}`, { metadata: { field } });
}
