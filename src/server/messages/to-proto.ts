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

/** Makes messages of the protocol from what the engine holds; average-message.ts does so for averages. */

export function tensorMessage({ name, dtype, shape, policy }: TensorSpec): Tensor {
  return { name, dtype, shape: [...shape], policy };
}

/** The messages of a layout's tensors from index `first` on, as many as fit in one answer. */
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
    // After the initial push the average has a weight but no folded update, so the message has no weight yet.
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

/**
 * Divides the tensors of a read into parts: the first goes into the read's header, each other into a message of its
 * own.
 */
export function shadowTensorParts({ tensors }: ReadPlan): Generator<EntryPart> {
  return partsOf(tensors.count, ANSWER_PART_BYTES, (index) => {
    const { name, shape } = tensors.tensorAt(index);
    return tensorEntryBytes(name, (tensors.isOfBoxes ? 3 : 1) * shape.length);
  });
}

/** The messages of the tensors or boxes in one part of a read, with the offset of each one's bytes. */
export function shadowTensorMessages({ tensors }: ReadPlan, { begin, end }: EntryPart): ShadowTensor[] {
  return Array.from({ length: end - begin }, (_, at) => shadowTensorMessage(tensors, begin + at));
}

function shadowTensorMessage(tensors: ReadPlan['tensors'], index: number): ShadowTensor {
  const { tensor, dtype, readOffset: offset } = tensors.at(index);
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

/** The fields of a run's committed and durable steps. A field is absent while there is no such step. */
export function stepFields(
  committedStep: number | undefined,
  durableStep: number | undefined,
): { committed_step?: number; durable_step?: number } {
  return {
    ...(committedStep === undefined ? {} : { committed_step: committedStep }),
    ...(durableStep === undefined ? {} : { durable_step: durableStep }),
  };
}
