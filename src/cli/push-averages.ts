import { type AverageSpec, type AverageStart, averageEma, averageMean } from '../client/index.js';
import { quote } from '../common/index.js';
import { UsageError } from './exit.js';

export interface EmaFlag {
  name: string;
  decay: number;
}

/** `NAME=DECAY` */
export function emaFlag(text: string): EmaFlag {
  const [, name, decay] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const value = Number(decay);
  if (name !== undefined && decay?.trim() !== '' && value >= 0 && value <= 1) return { name, decay: value };
  throw new UsageError(`--ema must be NAME=DECAY with a decay from 0 to 1, as ema=0.999, got ${quote(text)}`);
}

/** The averages that the flags ask for: EMAs first, then means, each in the order of the command line. */
export function averagesOf(emas: readonly EmaFlag[], means: readonly string[], start: AverageStart): AverageSpec[] {
  return [
    ...emas.map(({ name, decay }) => averageEma(name, { decay, start })),
    ...means.map((name) => averageMean(name)),
  ];
}
