import { AVERAGE_DEFAULTS, scheduleRow, snakeCase } from '../../common/index.js';
import type { Average, Average__Output } from '../../protocol/index.js';
import { protocolError } from '../errors.js';
import { checkAverage } from './average-of.js';
import type { AverageSchedule, AverageSpec } from './spec.js';

/** The message of an average. Throws INVALID_AVERAGE. */
export function toAverageMessage(average: AverageSpec): Average {
  checkAverage(average);
  const { name, schedule, ...fields } = average;
  const { kind, ...parameters } = schedule;
  return { name, ...renamed(fields), [kind]: renamed(parameters) };
}

function renamed(fields: object): object {
  const said = Object.entries(fields).filter(([, value]) => value != null);
  return Object.fromEntries(said.map(([name, value]) => [snakeCase(name), value]));
}

/** The average that a message of the service describes, with every field set. */
export function fromAverageMessage(message: Average__Output): AverageSpec {
  const kind = message.schedule;
  if (kind === undefined) throw protocolError(`average ${JSON.stringify(message.name)} without a schedule`);
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const schedule = read(message[kind] ?? {}, [...Object.keys(parameters), ...Object.keys(inPlaceOf)]);
  return {
    name: message.name,
    ...read(message, Object.keys(AVERAGE_DEFAULTS)),
    schedule: { kind, ...schedule } as AverageSchedule,
  };
}

/** The fields of a message with these names (in camelCase), without fields that have no value. */
function read(message: object, names: readonly string[]): object {
  const values = message as Readonly<Record<string, unknown>>;
  const said = names.map((name) => [name, values[snakeCase(name)]] as const).filter(([, value]) => isSaid(value));
  return Object.fromEntries(said);
}

/** Whether a field has a value. An older service leaves an enum field that it does not know unspecified. */
function isSaid(value: unknown): boolean {
  return value != null && !(typeof value === 'string' && value.endsWith('_UNSPECIFIED'));
}
