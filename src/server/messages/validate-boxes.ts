import { BOX_CUT_COUNT_MAX, quote } from '../../common/index.js';
import type { BoxList, TensorList } from '../../engine/index.js';
import { invalidField } from './fields.js';

/** Boxes that are checked between two yields: under a millisecond of work. */
const SLICE_BOXES = 1_024;

/**
 * Checks that each box of `field` lies in a tensor of the run that is not ignored. Yields between slices. Throws
 * INVALID_FIELD, which names the box.
 */
export function* validateBoxes(field: string, boxes: BoxList, tensors: TensorList): Generator<void> {
  for (let index = 0; index < boxes.count; index++) {
    if (index % SLICE_BOXES === SLICE_BOXES - 1) yield;
    const problem = problemOf(boxes, index, tensors);
    if (problem !== undefined) throw invalidField(`${field}[${index}]${problem.inside}`, problem.text);
  }
}

/** Checks the boxes of a read, which must have no replica group. Yields between slices. Throws INVALID_FIELD. */
export function* validateReadBoxes(boxes: BoxList, tensors: TensorList): Generator<void> {
  const shared = boxes.replicaGroup.findIndex((group) => group !== 0);
  if (shared >= 0) {
    throw invalidField(`boxes[${shared}].replica_group`, `must be 0 in a read, got ${boxes.replicaGroup[shared]}`);
  }
  yield* validateBoxes('boxes', boxes, tensors);
}

/** What is wrong with a box. `inside` is the path of the field in the box, or empty for the box as a whole. */
interface Problem {
  readonly inside: string;
  readonly text: string;
}

function problemOf(boxes: BoxList, index: number, tensors: TensorList): Problem | undefined {
  const tensor = tensors.at(boxes.tensor[index]!);
  if (tensor === undefined) {
    const text = `must be an integer from 0 to ${tensors.length - 1}, got ${boxes.tensor[index]}`;
    return { inside: '.tensor', text };
  }
  const { name, shape, policy } = tensor;
  if (policy === 'IGNORE') return { inside: '', text: `is of tensor ${quote(name)}, which is ignored` };
  const begin = boxes.first[index]!;
  const rank = (boxes.first[index + 1]! - begin) / 2;
  if (rank === 0) return undefined;
  if (rank !== shape.length) {
    return { inside: '', text: `must have ${shape.length} offsets and extents, or none, got ${rank}` };
  }
  let cuts = 0;
  for (let dim = 0; dim < rank; dim++) {
    const offset = boxes.dims[begin + dim]!;
    const end = offset + boxes.dims[begin + rank + dim]!;
    if (end > shape[dim]!) {
      const text = `goes from ${offset} to ${end} in dimension ${dim} of tensor ${quote(name)} of shape [${shape}]`;
      return { inside: '', text };
    }
    if (end < shape[dim]!) cuts += 1;
  }
  if (cuts <= BOX_CUT_COUNT_MAX) return undefined;
  const text = `ends inside of tensor ${quote(name)} in ${cuts} dimensions, at most ${BOX_CUT_COUNT_MAX} are allowed`;
  return { inside: '', text };
}
