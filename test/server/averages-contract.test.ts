import { describe, expect, test } from 'vitest';
import { toAverageMessage } from '../../src/client/averages/index.js';
import * as client from '../../src/client/index.js';
import {
  AVERAGE_COUNTS,
  AVERAGE_DEFAULTS,
  type ScheduleKind,
  ShadowkeepError,
  scheduleRow,
  snakeCase,
} from '../../src/common/index.js';
import { readSource } from '../support/source-files.js';
import { ask, openRun, rawClient, serve } from './harness.js';

/** A case of an average, by the proto's names, with what becomes of it. Python's tests run the same cases. */
interface Case {
  readonly kind: ScheduleKind;
  readonly options: Readonly<Record<string, unknown>>;
  /** The fields that differ from the defaults. */
  readonly filled?: Readonly<Record<string, unknown>>;
  /** The field that the error names, and what the error says after "must be". */
  readonly refused?: string;
  readonly why?: string;
}

const CASES = JSON.parse(readSource('test/common/averages.json'), (_, value) =>
  value === 'NaN' || value === 'Infinity' ? Number(value) : value,
) as Case[];

type Make = (name: string, options: Record<string, unknown>) => client.AverageSpec;

const MAKERS = {
  constant: client.averageEma,
  mean: client.averageMean,
  half_life: (name: string, { updates, ...rest }: { updates: number }) =>
    client.averageHalfLife(name, { ...rest, halfLife: updates }),
  ratio_warmup: client.averageRatioWarmup,
  inverse_power: client.averageInversePower,
  exponential_ramp: client.averageExponentialRamp,
  half_life_fraction: client.averageHalfLifeFraction,
  annealed_momentum: client.averageAnnealedMomentum,
  cosine: client.averageCosine,
  power_function: client.averagePowerFunction,
  half_life_ramp_up: client.averageHalfLifeRampUp,
} as unknown as Readonly<Record<ScheduleKind, Make>>;

/** All options with their defaults, as the service describes an average. */
const FILLED = Object.fromEntries(Object.entries(AVERAGE_DEFAULTS).map(([name, value]) => [snakeCase(name), value]));

const camelCase = (name: string): string => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/**
 * The message that a foreign client sends: the schedule has its parameters with their defaults, and options are beside
 * it.
 */
function messageOf({ kind, options }: Case): object {
  const { parameters, inPlaceOf = {} } = scheduleRow(kind);
  const names = [...Object.keys(parameters), ...Object.keys(inPlaceOf)].map(snakeCase);
  const schedule = names.map((name) => [name, options[name] ?? parameters[camelCase(name)]?.default]);
  const rest = Object.entries(options).filter(([name]) => !names.includes(name));
  const said = Object.fromEntries(schedule.filter(([, value]) => value !== undefined));
  return { name: 'a', start: 'FIRST', ...Object.fromEntries(rest), [kind]: said };
}

function made({ kind, options }: Case): client.AverageSpec {
  return MAKERS[kind](
    'a',
    Object.fromEntries(Object.entries(options).map(([name, value]) => [camelCase(name), value])),
  );
}

function parsed({ kind, options }: Case): client.AverageSpec[] {
  const shown = (value: unknown) => (Array.isArray(value) ? value.join('+') : String(value).replace('Infinity', 'inf'));
  const text = Object.entries(options).map(([name, value]) => `${name}=${shown(value)}`);
  return client.parseAverage(`a=${kind.replaceAll('_', '-')}${text.length === 0 ? '' : ':'}${text.join(',')}`);
}

const isCount = (field: string): boolean => Object.keys(AVERAGE_COUNTS).map(snakeCase).includes(field);

const nameOf = (index: number) => `${CASES[index]!.kind} ${JSON.stringify(CASES[index]!.options)}`;
const select = (wanted: boolean) =>
  CASES.flatMap((one, index) => ((one.refused === undefined) === wanted ? [[nameOf(index), one] as const] : []));

const tensors = ['w', 'wx'].map((name) => ({ name, dtype: 'F32' as const, shape: [1] }));

describe('an average is the same from every door', () => {
  test.each(select(true))('%s', async (_, one) => {
    const raw = rawClient(await serve());
    const [shell] = parsed(one).map(toAverageMessage);
    const doors = { raw: messageOf(one), TypeScript: toAverageMessage(made(one)), shell: { ...shell, preset: '' } };
    for (const [door, average] of Object.entries(doors)) {
      await openRun(raw, { run: door, tensors, averages: [average] });
      const { averages } = await ask(raw, 'GetRun', { run: door });
      const { schedule, ...found } = averages![0] as unknown as Record<string, unknown>;
      const parameters = found[one.kind];
      const wanted = { ...FILLED, name: 'a', ...one.filled };
      expect({ schedule, ...found, [one.kind]: undefined }, door).toMatchObject({
        ...wanted,
        schedule: one.kind,
        [one.kind]: undefined,
      });
      for (const [name, value] of Object.entries(one.filled?.[one.kind] ?? {})) {
        expect((parameters as Record<string, number>)[name], `${door}: ${name}`).toBeCloseTo(value as number, 12);
      }
    }
  });
});

describe('what is refused is refused at every door, with the field', () => {
  test.each(select(false))('%s', async (_, one) => {
    const raw = rawClient(await serve());
    const field = one.refused!;
    const error = (await openRun(raw, { run: 'r', tensors, averages: [messageOf(one)] }).then(
      () => undefined,
      (refused) => refused,
    )) as Error | undefined;
    // The protocol cannot carry an unknown word or a count below 0: the encoder leaves them out, so they cannot be
    // refused.
    const value = one.options[field];
    const isSent = typeof value === 'number' ? value >= 0 || !isCount(field) : typeof value !== 'string';
    if (isSent) {
      expect(error?.message).toMatch(/^3 INVALID_ARGUMENT: /);
      expect(error?.message).toContain(field);
      expect(error?.message).toContain(one.why);
    }
    for (const make of [() => made(one), () => parsed(one)]) {
      expect(make).toThrow(ShadowkeepError);
      expect(make).toThrow(field);
    }
    expect(() => made(one)).toThrow(one.why);
  });
});
