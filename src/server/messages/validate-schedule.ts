import {
  isWithin,
  refusedParameter,
  SCHEDULES,
  type ScheduleKind,
  scheduleRow,
  snakeCase,
} from '../../common/index.js';
import { gammaOf, type Schedule } from '../../engine/index.js';
import type { Average__Output } from '../../protocol/index.js';
import { invalidField } from './fields.js';

type Numbers = Readonly<Record<string, number | undefined>>;

/** The schedule of an average, with every parameter checked against its bounds. Throws INVALID_AVERAGE. */
export function validateSchedule(field: string, average: Average__Output): Schedule {
  const kind = average.schedule;
  if (kind === undefined) throw invalidField(`${field}.schedule`, 'is required', 'INVALID_AVERAGE');
  const message = (average[kind] ?? {}) as Numbers;
  const parameters =
    kind === 'power_function'
      ? { gamma: validateWidth(`${field}.${kind}.`, message, 'INVALID_AVERAGE') }
      : validateParameters(`${field}.${kind}`, kind, message);
  // The assertion holds because each parameter of the schedule's row in the table has been given its value.
  return { kind, ...parameters } as Schedule;
}

function validateParameters(field: string, kind: ScheduleKind, message: Numbers): Numbers {
  const names = Object.keys(scheduleRow(kind).parameters);
  const values = Object.fromEntries(names.map((name) => [name, message[snakeCase(name)]]));
  const refusal = refusedParameter(kind, values);
  if (refusal === undefined) return values;
  const problem = `must be ${refusal.bound}, got ${refusal.value}`;
  throw invalidField(`${field}.${refusal.field}`, problem, 'INVALID_AVERAGE');
}

/**
 * The exponent of a power function, which a message gives as `gamma` or as its relative width `sigma_rel`. `prefix` is
 * the path of the message in error texts. Throws `reason`.
 */
export function validateWidth(
  prefix: string,
  { gamma, sigma_rel: sigmaRel }: { readonly gamma?: number | undefined; readonly sigma_rel?: number | undefined },
  reason: 'INVALID_AVERAGE' | 'INVALID_FIELD',
): number {
  const { parameters, inPlaceOf } = SCHEDULES.power_function;
  const [name, bound] =
    sigmaRel === undefined ? ['gamma', parameters.gamma.bound] : ['sigma_rel', inPlaceOf.sigmaRel.bound];
  const value = sigmaRel ?? gamma;
  if (value === undefined) throw invalidField(`${prefix}width`, 'needs gamma or sigma_rel', reason);
  if (!isWithin(bound, value)) throw invalidField(`${prefix}${name}`, `must be ${bound.text}, got ${value}`, reason);
  return sigmaRel === undefined ? value : gammaOf(value);
}
