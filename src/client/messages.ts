import { DTYPE_BYTES, type DType, elementCount, isDType } from '../common/index.js';
import type {
  Ack__Output,
  AverageState__Output,
  Memory__Output,
  Movement__Output,
  Run__Output,
  RunEvent__Output,
  ShadowHeader__Output,
  Tensor__Output,
  WriterState__Output,
} from '../protocol/index.js';
import { layOut } from '../protocol/index.js';
import { fromAverageMessage } from './averages/index.js';
import { protocolError } from './errors.js';
import type { ShadowHeader, ShadowTensor } from './read-types.js';
import type { AverageState, Movement, RunEvent, RunInfo, RunMemory, WriterState } from './run-types.js';
import type { Ack, TensorSpec } from './types.js';

export function toAck(ack: Ack__Output): Ack {
  if (ack.state === 'STEP_STATE_UNSPECIFIED') throw protocolError(`an ack of step ${ack.step} without a state`);
  const { step, state } = ack;
  const detail = ack.detail === '' ? undefined : ack.detail;
  return { step, state, detail, committedStep: ack.committed_step, durableStep: ack.durable_step };
}

export function toRunEvent(event: RunEvent__Output): RunEvent {
  return {
    run: event.run,
    generation: event.generation,
    committedStep: event.committed_step,
    durableStep: event.durable_step,
    averages: event.averages.map(toAverageState),
  };
}

export function toRunInfo(run: Run__Output): RunInfo {
  return {
    run: run.run,
    generation: run.generation,
    firstGeneration: run.first_generation,
    committedStep: run.committed_step,
    durableStep: run.durable_step,
    tensors: run.tensors.map(toTensorSpec),
    averages: run.averages.map(fromAverageMessage),
    states: run.states.map(toAverageState),
    tensorCount: run.tensor_count,
    averagedElements: run.averaged_elements,
    memory: toMemory(run.memory),
    writers: run.writers,
    writerStates: run.writer_states.map(toWriterState),
    writersConnected: run.writers_connected,
    readersConnected: run.readers_connected,
    stagingStep: run.staging_step,
    stagingBytes: run.staging_bytes,
    commits: run.commits,
    bytesReceived: run.bytes_received,
    bytesSent: run.bytes_sent,
    commitsPerSecond: run.commits_per_second,
    receivedBytesPerSecond: run.received_bytes_per_second,
    sinceCommitMs: run.since_commit_ms,
    nonFinite: run.non_finite === 'NON_FINITE_UNSPECIFIED' ? 'REJECT_STEP' : run.non_finite,
    nonFiniteSteps: run.non_finite_steps,
    snapshots: run.snapshots_held,
    retain: run.retain === null ? undefined : { everySteps: run.retain.every_steps, countMax: run.retain.count_max },
    retainedSteps: run.retained_steps,
  };
}

/**
 * Reads a header, and checks that its offsets and its length fit its tensors, so that readers of the bytes need not.
 */
export function toShadowHeader(header: ShadowHeader__Output): ShadowHeader {
  const tensors = header.tensors.map((tensor): ShadowTensor => {
    const dtype = toDType(tensor.dtype);
    const count = elementCount(tensor.shape);
    if (count === undefined) throw protocolError(`tensor ${JSON.stringify(tensor.name)} has too many elements`);
    const { name, shape, averaged, offset } = tensor;
    const isWhole = tensor.box_offset.length === 0;
    const boxOffset = isWhole ? shape.map(() => 0) : tensor.box_offset;
    const globalShape = isWhole ? shape : tensor.global_shape;
    return { name, dtype, shape, boxOffset, globalShape, averaged, offset, bytes: count * DTYPE_BYTES[dtype] };
  });
  const space = layOut(tensors.map((tensor) => tensor.bytes));
  const misplaced = tensors.find((tensor, index) => tensor.offset !== space.offsets[index]);
  if (misplaced !== undefined) {
    throw protocolError(`tensor ${JSON.stringify(misplaced.name)} starts at byte ${misplaced.offset}`);
  }
  if (header.total_bytes !== space.totalBytes) {
    throw protocolError(`the byte space has ${header.total_bytes} bytes, its tensors need ${space.totalBytes}`);
  }
  return {
    run: header.run,
    average: header.average,
    step: header.step,
    numUpdates: header.num_updates,
    generation: header.generation,
    weight: header.weight,
    version: header.version,
    durableStep: header.durable_step,
    movement: toMovement(header.movement),
    contributions: header.contributions,
    fitError: header.fit_error,
    totalBytes: header.total_bytes,
    tensors,
  };
}

function toTensorSpec(tensor: Tensor__Output): TensorSpec {
  const { name, shape, policy } = tensor;
  const dtype = toDType(tensor.dtype);
  return policy === 'POLICY_UNSPECIFIED' ? { name, dtype, shape } : { name, dtype, shape, policy };
}

function toDType(dtype: string): DType {
  if (!isDType(dtype)) throw protocolError(`unknown dtype ${dtype}`);
  return dtype;
}

function toAverageState(state: AverageState__Output): AverageState {
  const { name, num_updates: numUpdates, weight, added_at_step: addedAtStep } = state;
  return { name, numUpdates, weight, movement: toMovement(state.movement), addedAtStep };
}

function toWriterState(state: WriterState__Output): WriterState {
  return {
    writer: state.writer,
    connected: state.connected,
    step: state.step,
    receivingStep: state.receiving_step,
    receivedBytes: state.received_bytes,
    stepBytes: state.step_bytes,
    lagSteps: state.lag_steps,
    lagMs: state.lag_ms,
  };
}

function toMovement(movement: Movement__Output | null): Movement | undefined {
  if (movement === null) return undefined;
  return { distanceRel: movement.distance_rel, changedShare: movement.changed_share };
}

function toMemory(memory: Memory__Output | null): RunMemory {
  if (memory === null) throw protocolError('a run without its memory');
  return {
    shadowBytes: memory.shadow_bytes,
    stagingBytes: memory.staging_bytes,
    pinnedBytes: memory.pinned_bytes,
    freeBytes: memory.free_bytes,
    snapshotBytes: memory.snapshot_bytes,
    layoutBytes: memory.layout_bytes,
    budgetBytes: memory.budget_bytes,
    budgetFreeBytes: memory.budget_free_bytes,
  };
}
