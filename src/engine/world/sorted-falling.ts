/** Numbers that are merged between two yields: under a millisecond. */
const SLICE_NUMBERS = 1 << 14;

/**
 * The indices of `keys` from the largest to the smallest, those of equal ones in rising order: merged from runs of 1, 2, 4 …
 * Yields between slices, which a sort of the language does not.
 */
export function* sortedFalling(keys: Float64Array): Generator<void, Uint32Array> {
  const { length } = keys;
  let from = new Uint32Array(length);
  let to = new Uint32Array(length);
  for (let index = 0; index < length; index++) {
    from[index] = index;
    if (index % SLICE_NUMBERS === SLICE_NUMBERS - 1) yield;
  }
  for (let run = 1; run < length; run *= 2) {
    let left = 0;
    let right = 0;
    for (let at = 0; at < length; at++) {
      const begin = at - (at % (2 * run));
      const middle = Math.min(begin + run, length);
      if (at === begin) [left, right] = [begin, middle];
      const takesLeft =
        left < middle && (right >= Math.min(middle + run, length) || keys[from[left]!]! >= keys[from[right]!]!);
      to[at] = takesLeft ? from[left++]! : from[right++]!;
      if (at % SLICE_NUMBERS === SLICE_NUMBERS - 1) yield;
    }
    [from, to] = [to, from];
  }
  return from;
}
