import type { AverageSpec } from '../client/index.js';

/** An average's rule in a few words: `constant(decay 0.999) start INITIAL precision F32`. */
export function describeAverage(average: AverageSpec): string {
  const schedule = average.schedule ?? 'unspecified';
  const parameters = Object.entries(average[schedule as keyof AverageSpec] ?? {})
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
  const words = [parameters === '' ? schedule : `${schedule}(${parameters})`];
  if (average.bias_correction) words.push('bias corrected');
  words.push(`start ${average.start}`, `precision ${average.precision}`);
  return words.join(', ');
}
