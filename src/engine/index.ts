export type { Writer, WriterRequest, WriterState } from './assembly/index.js';
export {
  AVERAGE_DEFAULTS,
  type AverageSpec,
  advanceInitial,
  advanceUpdate,
  gammaOf,
  type Moment,
  NO_PROGRESS,
  type Progress,
  type Schedule,
  type Start,
  sigmaRelOf,
  weightAt,
} from './averages/index.js';
export {
  type Layout,
  type PlacedTensor,
  type Policy,
  placeTensors,
  type TensorSpec,
  wireDTypeOf,
} from './layout.js';
export { tensorHeapBytes, textHeapBytes } from './layout-memory.js';
export { HeapLease, type Ledger } from './ledger.js';
export type { LineageState } from './lineage.js';
export type { Movement } from './movement.js';
export type { NonFinitePolicy } from './non-finite.js';
export type { Plane } from './plane.js';
export {
  bytesOf as snapshotBytes,
  type Combination,
  type Contribution,
  fitProfiles,
  type Profile,
  planCombination,
  profileProduct,
  Snapshot,
  type SnapshotsSpec,
} from './post-hoc/index.js';
export { planRead, type ReadPlan, readBytes, readElements, writeElements } from './read.js';
export { READ_BOX_BYTES, READ_TENSOR_BYTES, type ReadTensor, type Selection, servedBy } from './read-tensors.js';
export { Run } from './run.js';
export type {
  CommitOutcome,
  ReaderPatience,
  RetentionSpec,
  RunMemory,
  RunRequest,
  RunSpec,
  RunState,
  TrainerRequest,
} from './run-spec.js';
export { RunTable } from './run-table.js';
export { copiedTensorsOf, tensorsOf } from './tables.js';
export { choiceOf, chooseTensors, idlePatternOf, isFiltered } from './tensor-filter.js';
export type { AverageState, Reader, Shadow, Version } from './version.js';
export { planWire, type WirePlan } from './wire-plan.js';
export { type Box, BoxList } from './world/index.js';
