import { inSlices } from './in-slices.js';

/** Runs a fold to its end and serves other calls between its slices. */
export async function driveFold(fold: Iterable<void>): Promise<void> {
  await inSlices(fold[Symbol.iterator]());
}
