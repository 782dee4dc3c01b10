import {
  AVERAGE_COUNTS,
  AVERAGE_DEFAULTS,
  type Bound,
  biasProblem,
  DECAY_UNITS,
  DELAY_MODES,
  INDEX_UNITS,
  SCHEDULE_KINDS,
  type ScheduleKind,
  STARTS,
  scheduleRow,
  snakeCase,
} from '../../common/index.js';
import { averageOf } from '../averages/average-of.js';
import type { AverageSpec } from '../types.js';
import { type Option, optional, REQUIRED, truth, within, word } from './option.js';
import type { Expansion, Preset } from './preset.js';

/** What every schedule takes, by the table's names. */
const FIELDS = {
  start: word(STARTS, AVERAGE_DEFAULTS.start),
  delayUpdates: count('delayUpdates'),
  delayMode: word(DELAY_MODES, AVERAGE_DEFAULTS.delayMode),
  every: count('every'),
  everyOffset: count('everyOffset'),
  decayUnit: word(DECAY_UNITS, AVERAGE_DEFAULTS.decayUnit),
  firstIndex: count('firstIndex'),
  indexUnit: word(INDEX_UNITS, AVERAGE_DEFAULTS.indexUnit),
};

type Options = Readonly<Record<string, Option<unknown>>>;

/** The schedules of the table, with the proto's names for their options. */
export const SCHEDULES: readonly Preset[] = SCHEDULE_KINDS.map((kind) => {
  const { rule, isCorrectable } = scheduleRow(kind);
  const options: Options = {
    ...parametersOf(kind),
    ...FIELDS,
    ...(isCorrectable === true ? { biasCorrection: truth(AVERAGE_DEFAULTS.biasCorrection) } : {}),
  };
  return {
    name: kind.replaceAll('_', '-'),
    rule,
    options: Object.fromEntries(Object.entries(options).map(([name, option]) => [snakeCase(name), option])),
    expand: (expansion) => [expand(kind, Object.keys(options), expansion)],
  };
});

function count(name: keyof typeof AVERAGE_COUNTS): Option<number> {
  return within(AVERAGE_COUNTS[name], AVERAGE_DEFAULTS[name]);
}

function parametersOf(kind: ScheduleKind): Options {
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const replaceable = new Set(Object.values(inPlaceOf).map(({ parameter }) => parameter));
  return Object.fromEntries([
    ...Object.entries(parameters).map(([name, { bound, default: fallback = REQUIRED }]) => {
      return [name, replaceable.has(name) ? optional(within(bound, REQUIRED)) : within(bound, fallback)];
    }),
    ...Object.entries(inPlaceOf).map(([name, { bound }]: [string, { bound: Bound }]) => {
      return [name, optional(within(bound, REQUIRED))];
    }),
  ]);
}

function expand(
  kind: ScheduleKind,
  names: readonly string[],
  expansion: Expansion<Record<string, unknown>>,
): AverageSpec {
  const { name: averageName, refuse } = expansion;
  const options = Object.fromEntries(names.map((name) => [name, expansion.options[snakeCase(name)]]));
  const { every, everyOffset, start, biasCorrection, decay } = options;
  if (Number(everyOffset) >= Number(every)) throw refuse('every_offset', `below every (${every})`);
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  for (const [name, { atMost }] of Object.entries(parameters)) {
    if (atMost === undefined || Number(options[name]) <= Number(options[atMost])) continue;
    throw refuse(snakeCase(name), `at most ${snakeCase(atMost)} (${options[atMost]})`);
  }
  const problem = biasCorrection === true ? biasProblem(kind, decay, String(start)) : undefined;
  if (problem !== undefined) throw refuse('bias_correction', `left out: it ${problem}`);
  const replaced: Record<string, number> = {};
  for (const [name, { parameter }] of Object.entries(inPlaceOf)) {
    const [value, other] = [options[name], options[parameter]];
    if (value !== null && other !== null) throw refuse(snakeCase(name), `left out where ${parameter} is given`);
    if (value === null && other === null) throw refuse(snakeCase(name), `given where ${parameter} is not`);
    if (value !== null) replaced[name] = Number(value);
  }
  return averageOf(averageName, kind, options, replaced);
}
