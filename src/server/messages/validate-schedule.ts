import { assert, SIGMA_REL_MAX } from '../../common/index.js';
import { gammaOf, type Schedule } from '../../engine/index.js';
import type { Average__Output } from '../../protocol/index.js';
import { integer, invalidField } from './fields.js';

/** The schedule of an average with every parameter inside its bounds. */
export function validateSchedule(field: string, average: Average__Output): Schedule {
  const kind = average.schedule;
  const read = kind === undefined ? undefined : SCHEDULES[kind];
  if (kind === undefined || read === undefined)
    throw invalidField(`${field}.schedule`, 'is required', 'INVALID_AVERAGE');
  return read(`${field}.${kind}`, average);
}

type Read = (field: string, average: Average__Output) => Schedule;

const SCHEDULES: Readonly<Record<NonNullable<Average__Output['schedule']>, Read>> = {
  constant: (field, { constant }) => ({ kind: 'constant', decay: share(field, present(constant), 'decay') }),
  mean: () => ({ kind: 'mean' }),
  half_life: (field, { half_life }) => ({ kind: 'half_life', updates: positive(field, present(half_life), 'updates') }),
  ratio_warmup: (field, { ratio_warmup }) => {
    const message = present(ratio_warmup);
    const [decayMin, decay] = range(field, message, 'decay_min', 'decay');
    return { kind: 'ratio_warmup', decay, decayMin };
  },
  inverse_power: (field, { inverse_power }) => {
    const message = present(inverse_power);
    const [decayMin, decayMax] = range(field, message, 'decay_min', 'decay_max');
    const [invGamma, power] = [positive(field, message, 'inv_gamma'), positive(field, message, 'power')];
    return { kind: 'inverse_power', invGamma, power, decayMin, decayMax };
  },
  exponential_ramp: (field, { exponential_ramp }) => {
    const message = present(exponential_ramp);
    return { kind: 'exponential_ramp', decay: share(field, message, 'decay'), tau: positive(field, message, 'tau') };
  },
  half_life_fraction: (field, { half_life_fraction }) => ({
    kind: 'half_life_fraction',
    fraction: positive(field, present(half_life_fraction), 'fraction'),
  }),
  annealed_momentum: (field, { annealed_momentum }) => {
    const message = present(annealed_momentum);
    const [momentum, gamma] = [share(field, message, 'momentum'), positive(field, message, 'gamma')];
    return { kind: 'annealed_momentum', momentum, gamma };
  },
  cosine: (field, { cosine }) => {
    const message = present(cosine);
    const steps = integer(`${field}.steps`, message.steps, 1, Number.MAX_SAFE_INTEGER, 'INVALID_AVERAGE');
    return { kind: 'cosine', decay: share(field, message, 'decay'), steps };
  },
  power_function: (field, { power_function }) => {
    const message = present(power_function);
    return { kind: 'power_function', gamma: validateWidth(`${field}.`, message, 'INVALID_AVERAGE') };
  },
  half_life_ramp_up: (field, { half_life_ramp_up }) => {
    const message = present(half_life_ramp_up);
    // 0: without bound.
    const halfLife = message.half_life === 0 ? 0 : positive(field, message, 'half_life');
    return { kind: 'half_life_ramp_up', halfLife, ratio: positive(field, message, 'ratio') };
  },
};

/** The largest exponent: relative widths below 1e-6 are none. */
const GAMMA_MAX = 1e6;

/** The exponent of a power function that is given by it or by its relative width, of the message at `prefix`. */
export function validateWidth(
  prefix: string,
  { gamma, sigma_rel: sigmaRel }: { gamma?: number | undefined; sigma_rel?: number | undefined },
  reason: 'INVALID_AVERAGE' | 'INVALID_FIELD',
): number {
  if (sigmaRel !== undefined) {
    // The widest one is the plain average, whose width does not end in a double.
    if (sigmaRel >= 1 / GAMMA_MAX && sigmaRel <= SIGMA_REL_MAX + Number.EPSILON) return gammaOf(sigmaRel);
    const bounds = `from ${1 / GAMMA_MAX} to ${SIGMA_REL_MAX} (the plain average)`;
    throw invalidField(`${prefix}sigma_rel`, `must be ${bounds}, got ${sigmaRel}`, reason);
  }
  if (gamma === undefined) throw invalidField(`${prefix}width`, 'needs gamma or sigma_rel', reason);
  if (gamma >= 0 && gamma <= GAMMA_MAX) return gamma;
  throw invalidField(`${prefix}gamma`, `must be from 0 to ${GAMMA_MAX}, got ${gamma}`, reason);
}

function present<Message>(message: Message | null | undefined): Message {
  assert(message != null, 'a oneof that names a field has it');
  return message;
}

/** A number from 0 to 1. */
function share<Name extends string>(field: string, message: Record<Name, number>, name: Name): number {
  const value = message[name];
  if (value >= 0 && value <= 1) return value;
  throw invalidField(`${field}.${name}`, `must be from 0 to 1, got ${value}`, 'INVALID_AVERAGE');
}

function positive<Name extends string>(field: string, message: Record<Name, number>, name: Name): number {
  const value = message[name];
  if (value > 0 && value <= Number.MAX_VALUE) return value;
  throw invalidField(`${field}.${name}`, `must be a finite number above 0, got ${value}`, 'INVALID_AVERAGE');
}

/** Two numbers from 0 to 1 in order. */
function range<Low extends string, High extends string>(
  field: string,
  message: Record<Low | High, number>,
  low: Low,
  high: High,
): [number, number] {
  const [from, to] = [share(field, message, low), share(field, message, high)];
  if (from <= to) return [from, to];
  throw invalidField(`${field}.${low}`, `must be at most ${high}, ${to}, got ${from}`, 'INVALID_AVERAGE');
}
