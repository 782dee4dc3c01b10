/** The largest power of two that is at most `bytes`, and at least `bytesMin`: shares of one budget, one for each peer. */
export function powerOfTwoWithin(bytes: number, bytesMin: number): number {
  return Math.max(bytesMin, 2 ** Math.floor(Math.log2(bytes)));
}
