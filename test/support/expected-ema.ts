/** Numbers in [-1, 1) from a seed (mulberry32): the same on every machine. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

/** The textbook rule in float64, v = β v + (1 − β) θ, from initial weights. */
export function expectedEma(initial: Float32Array, updates: readonly Float32Array[], decay: number): Float64Array {
  return updates.reduce(
    (shadow, update) => shadow.map((value, i) => decay * value + (1 - decay) * (update[i] ?? Number.NaN)),
    Float64Array.from(initial),
  );
}
