/**
 * w of a decay that holds for `elapsed` updates: 1 − decay^elapsed. For one update it is the difference that every peer
 * computes, to the bit.
 */
export function weightOfDecay(decay: number, elapsed: number): number {
  return elapsed === 1 ? 1 - decay : 1 - decay ** elapsed;
}
