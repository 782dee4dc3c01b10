import { BOX_CUT_COUNT_MAX, quote } from '../common/index.js';
import { type Box, BoxList, type TensorSpec } from '../engine/index.js';
import { invalidField } from './fields.js';
import type { Box__Output } from './gen/shadowkeep/v1/Box.js';

/** Checks that each box of `field` is a rectangle of a tensor that travels. Throws INVALID_FIELD, which names it. */
export function validateBoxes(field: string, boxes: BoxList, tensors: readonly TensorSpec[]): void {
  for (let index = 0; index < boxes.count; index++) checkBox(`${field}[${index}]`, boxes, index, tensors);
}

/** The boxes of a read. */
export function readBoxes(boxes: readonly Box__Output[], tensors: readonly TensorSpec[]): BoxList {
  for (const [index, { offset, extent, replica_group: group }] of boxes.entries()) {
    const field = `boxes[${index}]`;
    if (group !== 0) throw invalidField(`${field}.replica_group`, `must be 0 in a read, got ${group}`);
    if (offset.length !== extent.length) {
      throw invalidField(field, `has ${offset.length} offsets and ${extent.length} extents`);
    }
    const inexact = [...offset, ...extent].find((value) => !Number.isSafeInteger(value));
    if (inexact !== undefined) throw invalidField(field, `has an offset or extent of ${inexact}`);
  }
  const list = BoxList.of(
    boxes.map(({ tensor, offset, extent }): Box => ({ tensor, offset, extent, replicaGroup: 0 })),
  );
  validateBoxes('boxes', list, tensors);
  return list;
}

function checkBox(field: string, boxes: BoxList, index: number, tensors: readonly TensorSpec[]): void {
  const tensor = tensors[boxes.tensor[index]!];
  if (tensor === undefined) {
    throw invalidField(
      `${field}.tensor`,
      `must be an integer from 0 to ${tensors.length - 1}, got ${boxes.tensor[index]}`,
    );
  }
  const { name, shape, policy } = tensor;
  if (policy === 'IGNORE') throw invalidField(field, `is of tensor ${quote(name)}, which is ignored`);
  const begin = boxes.first[index]!;
  const rank = (boxes.first[index + 1]! - begin) / 2;
  if (rank === 0) return;
  if (rank !== shape.length) {
    throw invalidField(field, `must have ${shape.length} offsets and extents, or none, got ${rank}`);
  }
  let cuts = 0;
  for (let dim = 0; dim < rank; dim++) {
    const offset = boxes.dims[begin + dim]!;
    const extent = boxes.dims[begin + rank + dim]!;
    const end = offset + extent;
    if (end > shape[dim]!) {
      const problem = `goes from ${offset} to ${end} in dimension ${dim} of tensor ${quote(name)} of shape [${shape}]`;
      throw invalidField(field, problem);
    }
    if (end < shape[dim]!) cuts += 1;
  }
  if (cuts > BOX_CUT_COUNT_MAX) {
    throw invalidField(
      field,
      `ends inside of tensor ${quote(name)} in ${cuts} dimensions, at most ${BOX_CUT_COUNT_MAX} are allowed`,
    );
  }
}
