/** A source of random numbers with a seed. The same seed gives the same sequence on every machine. */
export interface Random {
  /** A uniform number in [0, 1) with 32 random bits. */
  uniform(): number;
  /** A uniform integer in [0, bound). Its bias of at most bound / 2^32 does not matter here. */
  below(bound: number): number;
  /** The integers from 0 to count − 1 in random order. */
  permutation(count: number): Uint32Array;
}

/**
 * The odd number closest to 2^32 / golden ratio, which fills the initial state with mixed bits (Knuth's hash constant).
 */
const WEYL_INCREMENT = 0x9e3779b9;
/**
 * Rounds before the first number. The state is mixed after four rounds, and more rounds separate neighbouring seeds.
 */
const WARM_UP_ROUNDS = 16;

/** What a seed is used for. Each use draws from a sequence of its own. */
export type Stream = 'split' | 'weights' | 'batches';
const STREAMS: readonly Stream[] = ['split', 'weights', 'batches'];

/**
 * Marsaglia's xorshift128 (Journal of Statistical Software 8(14), 2003): period 2^128 − 1. `seed` is an integer from 0
 * to 2^32 − 1.
 */
export function seededRandom(seed: number, stream: Stream): Random {
  let [x, y, z, w] = [seed, STREAMS.indexOf(stream), WEYL_INCREMENT, WEYL_INCREMENT << 1];

  const next = (): number => {
    const t = x ^ (x << 11);
    [x, y, z] = [y, z, w];
    w = w ^ (w >>> 19) ^ t ^ (t >>> 8);
    return w >>> 0;
  };
  for (let round = 0; round < WARM_UP_ROUNDS; round += 1) next();

  const uniform = (): number => next() / 2 ** 32;
  const below = (bound: number): number => Math.floor(uniform() * bound);
  return {
    uniform,
    below,
    permutation(count) {
      const order = Uint32Array.from({ length: count }, (_, index) => index);
      for (let last = count - 1; last > 0; last -= 1) {
        const other = below(last + 1);
        [order[last], order[other]] = [order[other]!, order[last]!];
      }
      return order;
    },
  };
}
