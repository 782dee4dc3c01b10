import {
  AVERAGE_COUNTS,
  AVERAGE_DEFAULTS,
  AVERAGE_WORDS,
  SCHEDULE_KINDS,
  type ScheduleKind,
  scheduleRow,
  snakeCase,
} from '../../common/index.js';
import { averageOf } from '../averages/average-of.js';
import { type Option, optional, REQUIRED, truth, within, word } from './option.js';
import type { Preset } from './preset.js';

/** The options that every schedule takes, by their names in the table of averages. */
const FIELDS = {
  start: word(AVERAGE_WORDS.start, AVERAGE_DEFAULTS.start),
  delayUpdates: count('delayUpdates'),
  delayMode: word(AVERAGE_WORDS.delayMode, AVERAGE_DEFAULTS.delayMode),
  every: count('every'),
  everyOffset: count('everyOffset'),
  decayUnit: word(AVERAGE_WORDS.decayUnit, AVERAGE_DEFAULTS.decayUnit),
  firstIndex: count('firstIndex'),
  indexUnit: word(AVERAGE_WORDS.indexUnit, AVERAGE_DEFAULTS.indexUnit),
};

type Options = Readonly<Record<string, Option<unknown>>>;

/** The schedules of the table of averages as presets. Their options have the proto's names. */
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
    expand: ({ name: averageName, options: values }) => {
      const given = Object.keys(options).map((name) => [name, values[snakeCase(name)]]);
      return [averageOf(averageName, kind, Object.fromEntries(given))];
    },
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
    ...Object.entries(inPlaceOf).map(([name, { bound }]) => [name, optional(within(bound, REQUIRED))]),
  ]);
}
