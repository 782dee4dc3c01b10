import {
  type AverageSpec,
  type AverageStart,
  averageEma,
  averageMean,
  parseAverage,
  ShadowkeepError,
} from '../../client/index.js';
import { quote } from '../../common/index.js';
import { UsageError } from '../exit.js';

export interface EmaFlag {
  name: string;
  decay: number;
}

/** Parses `NAME=DECAY`. Throws UsageError. */
export function emaFlag(text: string): EmaFlag {
  const [, name, decay] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const value = Number(decay);
  if (name !== undefined && decay?.trim() !== '' && value >= 0 && value <= 1) return { name, decay: value };
  throw new UsageError(`--ema must be NAME=DECAY with a decay from 0 to 1, as ema=0.999, got ${quote(text)}`);
}

/** Parses `[NAME=]PRESET[:option=value,…]`. Throws UsageError. */
export function averagesFromText(text: string): AverageSpec[] {
  try {
    return parseAverage(text);
  } catch (error) {
    throw error instanceof ShadowkeepError ? new UsageError(error.message) : error;
  }
}

/** Collects the averages of a repeated flag. Each flag has one text, because a text has commas of its own. */
export function collectAverages(text: string, before: readonly AverageSpec[] = []): AverageSpec[] {
  return [...before, ...averagesFromText(text)];
}

export interface AverageFlags {
  average?: readonly AverageSpec[];
  ema?: readonly EmaFlag[];
  mean?: readonly string[];
  start?: AverageStart;
}

/** The averages that the flags ask for: texts first, then EMAs, then means, each in the order of the command line. */
export function averagesOf({ average = [], ema = [], mean = [], start = 'FIRST' }: AverageFlags): AverageSpec[] {
  return [
    ...average,
    ...ema.map(({ name, decay }) => averageEma(name, { decay, start })),
    ...mean.map((name) => averageMean(name)),
  ];
}
