/**
 * Index of the last of `count` items, which lie in the order of their offsets, that starts at or before `offset`; 0 before the
 * first. Of several that share an offset, because all but one of them are empty, it is the last.
 */
export function lastFrom(count: number, offsetOf: (index: number) => number, offset: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (offsetOf(middle) <= offset) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
