import { ALIGNMENT_BYTES, ELEMENT_COUNT_MAX } from './limits.js';

/**
 * Number of elements of a shape (rank 0: 1), or undefined when it exceeds ELEMENT_COUNT_MAX. No intermediate
 * product overflows: a factor is compared with what is left before it is multiplied, and an extent of 0 wins.
 */
export function elementCount(shape: readonly number[]): number | undefined {
  if (shape.includes(0)) return 0;
  let count = 1;
  for (const extent of shape) {
    if (extent > ELEMENT_COUNT_MAX / count) return undefined;
    count *= extent;
  }
  return count;
}

/** `bytes` rounded up to the next multiple of `unit`; exact up to 2^53. */
export function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

/** Length of one box in a byte space: its bytes and the gap after it. */
export function alignedBytes(bytes: number): number {
  return roundUp(bytes, ALIGNMENT_BYTES);
}
