import { ANSWER_PART_BYTES } from '../../common/index.js';
import type {
  Movement,
  ReadPlan,
  RetentionSpec,
  SnapshotsSpec,
  TensorList,
  TensorSpec,
  Version,
} from '../../engine/index.js';
import {
  type AverageState as AverageStateMessage,
  type EntryPart,
  type Movement as MovementMessage,
  partFrom,
  partsOf,
  type Retention,
  type ShadowTensor,
  type Snapshots,
  type Tensor,
  tensorEntryBytes,
} from '../../protocol/index.js';

/** Engine to proto, as average-message.ts is. */

export function tensorMessage({ name, dtype, shape, policy }: TensorSpec): Tensor {
  return { name, dtype, shape: [...shape], policy };
}

/** The tensors of a layout from `first` on, as many as one answer has. */
export function tensorMessages(tensors: TensorList, first: number): Tensor[] {
  const { end } = partFrom(first, tensors.length, ANSWER_PART_BYTES, (index) => {
    const { name, shape } = tensors.at(index)!;
    return tensorEntryBytes(name, shape.length);
  });
  return Array.from({ length: end - first }, (_, at) => tensorMessage(tensors.at(first + at)!));
}

export function averageStateMessages({ shadows }: Version): AverageStateMessage[] {
  return shadows.map(({ spec, state }) => ({
    name: spec.name,
    num_updates: state.numUpdates,
    // An initial push assigns: no update has been folded yet.
    ...(state.weight === undefined || state.numUpdates === 0 ? {} : { weight: state.weight }),
    ...(state.movement === undefined ? {} : { movement: movementMessage(state.movement) }),
    ...(state.addedAtStep === undefined ? {} : { added_at_step: state.addedAtStep }),
  }));
}

export function movementMessage({ distanceRel, changedShare }: Movement): MovementMessage {
  return { changed_share: changedShare, ...(distanceRel === undefined ? {} : { distance_rel: distanceRel }) };
}

export function snapshotsMessage({ everySteps, countMax, bytesMax, dtype }: SnapshotsSpec): Snapshots {
  return { every_steps: everySteps, count_max: countMax, bytes_max: bytesMax, dtype };
}

export function retentionMessage({ everySteps, countMax }: RetentionSpec): Retention {
  return { every_steps: everySteps, count_max: countMax };
}

/** The tensors of a read's header with where their bytes start, in parts: those of the header, then messages of their own. */
export function shadowTensorParts({ tensors }: ReadPlan): Generator<EntryPart> {
  return partsOf(tensors.count, ANSWER_PART_BYTES, (index) => {
    const { name, shape } = tensors.tensorAt(index);
    return tensorEntryBytes(name, (tensors.isOfBoxes ? 3 : 1) * shape.length);
  });
}

/** The tensors of one part of an answer. */
export function shadowTensorMessages({ tensors }: ReadPlan, { begin, end }: EntryPart): ShadowTensor[] {
  return Array.from({ length: end - begin }, (_, at) => shadowTensorMessage(tensors, begin + at));
}

function shadowTensorMessage(tensors: ReadPlan['tensors'], index: number): ShadowTensor {
  const { tensor, dtype, offset } = tensors.at(index);
  const box = tensors.boxAt(index);
  return {
    name: tensor.name,
    dtype,
    shape: Array.from(box?.extent ?? tensor.shape),
    offset,
    averaged: tensor.policy === 'AVERAGE',
    ...(box === undefined ? {} : { box_offset: Array.from(box.offset), global_shape: [...tensor.shape] }),
  };
}

/** Fields that are absent until there is something to say. */
export function stepFields(
  committedStep: number | undefined,
  durableStep: number | undefined,
): { committed_step?: number; durable_step?: number } {
  return {
    ...(committedStep === undefined ? {} : { committed_step: committedStep }),
    ...(durableStep === undefined ? {} : { durable_step: durableStep }),
  };
}
