import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { partOf, shards, TENSORS, type TestBox, type ValueOf } from './crew.js';
import { openRun, SMALL } from './harness.js';

/** The boxes of two writers, who share the rows. */
export const TWO = shards(TENSORS, 2);

export const valuesOf =
  (step: number): ValueOf =>
  (tensor, index) =>
    step * 16 + tensor * 4 + index;

/** The byte space of a step of a writer with these boxes. */
export const spaceOf = (boxes: readonly TestBox[], step: number): Buffer => partOf(TENSORS, boxes, valuesOf(step));

/** Opens the run for `writers` writers, and returns the generation. */
export async function openWorld(client: ShadowWeightsClient, writers: number, rest: object = {}): Promise<number> {
  return (await openRun(client, { ...SMALL, tensors: TENSORS, writers, ...rest })).generation;
}
