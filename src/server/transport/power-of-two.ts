/**
 * The largest power of two that is at most `bytes`, but at least `bytesMin`. Peers' shares of a budget are of this
 * form.
 */
export function powerOfTwoWithin(bytes: number, bytesMin: number): number {
  return Math.max(bytesMin, 2 ** Math.floor(Math.log2(bytes)));
}
