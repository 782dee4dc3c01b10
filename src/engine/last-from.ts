/**
 * Index of the last of `items`, which lie in the order of their offsets, that starts at or before `offset`; 0 before the
 * first. Of several that share an offset, because all but one of them are empty, it is the last.
 */
export function lastFrom<Item>(items: readonly Item[], offsetOf: (item: Item) => number, offset: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && offsetOf(item) <= offset) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
