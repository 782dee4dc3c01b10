/**
 * Measures contenders in turns (A B C A B C …), so that other work of the machine disturbs all of them alike.
 *
 * @param {number} pairs rounds
 * @param {Record<string, () => Promise<number>>} contenders
 * @param {(text: string) => void} progress
 * @param {{ warmUp?: boolean }} [options] whether a round that is not measured comes first, which is the default
 * @returns {Promise<Record<string, number[]>>} one value per round
 */
export async function interleave(pairs, contenders, progress, { warmUp = true } = {}) {
  const names = Object.keys(contenders);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = warmUp ? 0 : 1; round <= pairs; round++) {
    for (const name of names) {
      progress(round === 0 ? `warming up ${name}` : `round ${round} of ${pairs}: ${name}`);
      const value = await contenders[name]();
      if (round > 0) samples[name].push(value);
    }
  }
  return samples;
}

/** The ratio of two contenders in each round. A disturbance that both had in a round cancels out. */
export function ratios(numerators, denominators) {
  return numerators.map((value, round) => value / denominators[round]);
}

export function median(values) {
  return quantile(values, 0.5);
}

/** The quantile of the values, interpolated between two of them. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = Math.floor(at);
  const above = Math.ceil(at);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}
