import type { AverageSpec, AverageState, ReadPlan, Run, TensorSpec } from '../engine/index.js';
import type { Average } from './gen/shadowkeep/v1/Average.js';
import type { AverageState as AverageStateMessage } from './gen/shadowkeep/v1/AverageState.js';
import type { ShadowTensor } from './gen/shadowkeep/v1/ShadowTensor.js';
import type { Tensor } from './gen/shadowkeep/v1/Tensor.js';

/** Engine to proto; the only file that spells out messages from the engine's types. */

export function tensorMessage({ name, dtype, shape, policy }: TensorSpec): Tensor {
  return { name, dtype, shape: [...shape], policy };
}

export function averageMessage({ name, start, precision, schedule }: AverageSpec): Average {
  const rule = schedule.kind === 'constant' ? { constant: { decay: schedule.decay } } : { mean: {} };
  return { name, start, precision, ...rule };
}

export function averageStateMessages(run: Run): AverageStateMessage[] {
  return run.spec.averages.map(({ name }, index) => {
    const state: AverageState | undefined = run.head.states[index];
    return {
      name,
      num_updates: state?.numUpdates ?? 0,
      // An initial push assigns: no update has been folded yet.
      ...(state?.weight === undefined || state.numUpdates === 0 ? {} : { weight: state.weight }),
    };
  });
}

/** The tensors of a read's header, with where their bytes start. */
export function shadowTensorMessages(plan: ReadPlan): ShadowTensor[] {
  return plan.tensors.map(({ tensor, dtype, offset }) => ({
    name: tensor.name,
    dtype,
    shape: [...tensor.shape],
    offset,
    averaged: tensor.policy === 'AVERAGE',
  }));
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
