import { isTarget, quote, TARGET_RULE } from '../../common/index.js';
import { UsageError } from '../exit.js';
import { formatBytesExact } from '../text/format.js';

/**
 * Turns the text of a flag, from the command line or its variable, into its value. Throws UsageError with the bound.
 */
export type ValueParser<Value> = (text: string) => Value;

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

export function integer(flag: string, min: number, max = Number.MAX_SAFE_INTEGER): ValueParser<number> {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new UsageError(`${flag} must be an integer from ${min} to ${max}, got ${quote(text)}`);
  };
}

/** Parses a number above `min` and at most `max`. */
export function number(flag: string, min: number, max = Number.MAX_VALUE): ValueParser<number> {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value > min && value <= max) return value;
    const bound = max === Number.MAX_VALUE ? '' : `, at most ${max}`;
    throw new UsageError(`${flag} must be a number above ${min}${bound}, got ${quote(text)}`);
  };
}

/** Parses a number of bytes, with or without a unit: `1536`, `64MiB`, `1.5GiB`, `5GB`. */
export function byteSize(flag: string, min: number, max = Number.MAX_SAFE_INTEGER): ValueParser<number> {
  return (text) => {
    const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim()) ?? [];
    const scale = BYTE_UNITS[unit.toUpperCase()];
    const value = number === undefined || scale === undefined ? Number.NaN : Math.floor(Number(number) * scale);
    if (value >= min && value <= max) return value;
    const bounds = `${formatBytesExact(min)} and ${formatBytesExact(max)}`;
    throw new UsageError(`${flag} must be a size between ${bounds} (as 512MiB or 4GiB), got ${quote(text)}`);
  };
}

/** Parses a duration with a unit (`500ms`, `30s`, `5m`, `1h`) into milliseconds. */
export function duration(flag: string, maxMs: number): ValueParser<number> {
  return (text) => {
    const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)$/.exec(text.trim()) ?? [];
    const value = number === undefined ? Number.NaN : Math.round(Number(number) * DURATION_UNITS_MS[unit]!);
    if (value <= maxMs) return value;
    const max = maxMs % 3_600_000 === 0 ? `${maxMs / 3_600_000}h` : `${Math.floor(maxMs / 1_000)}s`;
    throw new UsageError(`${flag} must be a duration up to ${max} (as 500ms, 30s, 5m or 1h), got ${quote(text)}`);
  };
}

/** Parses the address of a service, HOST:PORT. */
export function target(flag: string): ValueParser<string> {
  return (text) => {
    if (isTarget(text)) return text;
    throw new UsageError(`${flag} ${TARGET_RULE}, got ${quote(text)}`);
  };
}

/** Parses one of a few words, in upper or lower case. */
export function oneOf<Value extends string>(flag: string, values: readonly Value[]): ValueParser<Value> {
  return (text) => {
    const value = values.find((candidate) => candidate.toLowerCase() === text.toLowerCase());
    if (value !== undefined) return value;
    throw new UsageError(`${flag} must be one of ${values.join(', ')}, got ${quote(text)}`);
  };
}

/** Collects the values of a flag that may be given several times, or once with commas. */
export function list<Value>(parse: ValueParser<Value>): (text: string, previous: Value[] | undefined) => Value[] {
  return (text, previous = []) => [...previous, ...text.split(',').map(parse)];
}
