/**
 * The TypeScript client of Shadowkeep: trainers push steps, evaluators read averaged weights.
 *
 * ```ts
 * import { averageEma, connect } from 'shadowkeep/client';
 *
 * const client = connect('127.0.0.1:50051');
 * const run = await client.openRun({
 *   run: 'digits',
 *   tensors: [{ name: 'weight', dtype: 'F32', shape: [10, 64] }],
 *   averages: [averageEma('ema', { decay: 0.999 })],
 * });
 * await run.update(1, { weight });
 * const shadow = await client.getShadow({ run: 'digits' });
 * ```
 *
 * @module
 */

export { ERROR_TABLE, type ErrorReason, ShadowkeepError } from '../common/index.js';
export {
  type AnnealedMomentumOptions,
  type AverageOptions,
  type AverageSchedule,
  type AverageStart,
  averageAnnealedMomentum,
  averageCosine,
  averageEma,
  averageExponentialRamp,
  averageHalfLife,
  averageHalfLifeFraction,
  averageHalfLifeRampUp,
  averageInversePower,
  averageMean,
  averagePowerFunction,
  averageRatioWarmup,
  type CosineOptions,
  type EmaOptions,
  type ExponentialRampOptions,
  type HalfLifeFractionOptions,
  type HalfLifeOptions,
  type HalfLifeRampUpOptions,
  type InversePowerOptions,
  type PowerFunctionOptions,
  type RatioWarmupOptions,
} from './averages/index.js';
export { silenceTransportLog } from './channel.js';
export { type ConnectOptions, connect, type ShadowkeepClient } from './client.js';
export { ClientError, type Failure } from './errors.js';
export { checkHealth, type ServingStatus } from './health.js';
export {
  commonPresetOptions,
  type GivenOptions,
  listPresets,
  type PresetInfo,
  type PresetOption,
  parseAverage,
  preset,
} from './presets/index.js';
export type {
  ReadOptions,
  Shadow,
  ShadowHeader,
  ShadowPart,
  ShadowPiece,
  ShadowRead,
  ShadowTensor,
} from './read-types.js';
export type { RunHandle } from './run-handle.js';
export type { AverageState, DamagedRun, RunEvent, RunInfo, RunMemory, WriterState } from './run-types.js';
export type { StepData } from './step-source.js';
export type {
  Ack,
  AverageSpec,
  BoxBytes,
  BoxSpec,
  DType,
  FloatDType,
  OpenRunOptions,
  PendingStep,
  Precision,
  ReconnectOptions,
  RetainOptions,
  StepPart,
  TensorBytes,
  TensorPolicy,
  TensorReader,
  TensorSpec,
} from './types.js';
