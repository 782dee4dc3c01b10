import { ELEMENT_COUNT_MAX, quote, REPLICA_GROUP_MAX, ShadowkeepError } from '../common/index.js';
import type { Box } from '../protocol/index.js';
import type { BoxSpec } from './types.js';

/** A box with the tensor that it is a part of. */
export interface PlacedBox<Tensor> {
  readonly tensor: Tensor;
  /** The index of the box's tensor in the layout. */
  readonly tensorIndex: number;
  /** One offset per dimension, also when the box is the whole tensor. */
  readonly offset: readonly number[];
  readonly extent: readonly number[];
  readonly replicaGroup: number;
}

/**
 * Finds the tensor of each box in a layout. Throws INVALID_FIELD for an unknown tensor, a wrong rank, and a box that
 * does not lie in its tensor.
 */
export function placeBoxes<Tensor extends { readonly name: string; readonly shape: readonly number[] }>(
  boxes: readonly BoxSpec[],
  tensors: readonly Tensor[],
): PlacedBox<Tensor>[] {
  const indices = new Map(tensors.map(({ name }, index) => [name, index]));
  return boxes.map((box, index) => {
    const tensorIndex = indices.get(box.tensor);
    if (tensorIndex === undefined) throw invalidBox(box, index, 'names a tensor that the run does not have');
    const tensor = tensors[tensorIndex]!;
    const isWhole = box.offset === undefined && box.extent === undefined;
    const offset = isWhole ? tensor.shape.map(() => 0) : (box.offset ?? []);
    const extent = isWhole ? tensor.shape : (box.extent ?? []);
    checkInside({ ...box, offset, extent }, index, tensor.shape);
    const { replicaGroup = 0 } = box;
    if (!isCount(replicaGroup, REPLICA_GROUP_MAX)) {
      throw invalidBox(box, index, `must have a replica group from 0 to ${REPLICA_GROUP_MAX}, got ${replicaGroup}`);
    }
    return { tensor, tensorIndex, offset, extent, replicaGroup };
  });
}

export function boxMessage({ tensorIndex, offset, extent, replicaGroup }: PlacedBox<unknown>): Box {
  return { tensor: tensorIndex, offset: [...offset], extent: [...extent], replica_group: replicaGroup };
}

/** The error for a bad box, which names the box and its tensor. */
export function invalidBox(box: BoxSpec, index: number, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', `boxes[${index}] of tensor ${quote(box.tensor)} ${problem}`, {
    metadata: { field: `boxes[${index}]`, tensor: box.tensor },
  });
}

function checkInside(
  box: BoxSpec & { offset: readonly number[]; extent: readonly number[] },
  index: number,
  shape: readonly number[],
): void {
  const { offset, extent } = box;
  if (offset.length !== shape.length || extent.length !== shape.length) {
    const given = `${offset.length} offsets and ${extent.length} extents`;
    throw invalidBox(box, index, `must have ${shape.length} offsets and extents, or none, got ${given}`);
  }
  shape.forEach((size, dimension) => {
    const [begin, length] = [offset[dimension]!, extent[dimension]!];
    if ([begin, length].every((value) => isCount(value, ELEMENT_COUNT_MAX)) && begin + length <= size) return;
    throw invalidBox(
      box,
      index,
      `has offset ${begin} and extent ${length} in dimension ${dimension}, which has ${size} elements`,
    );
  });
}

function isCount(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}
