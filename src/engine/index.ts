export { type AverageSpec, type Schedule, type Start, weightAt } from './averages/index.js';
export {
  type Layout,
  type PlacedTensor,
  type Policy,
  placeTensors,
  planWire,
  type TensorSpec,
  wireDTypeOf,
} from './layout.js';
export type { Ledger } from './ledger.js';
export type { Plane } from './plane.js';
export { planRead, type ReadPlan, type ReadTensor, readBytes, readTensor, writeTensor } from './read.js';
export { type CommitState, Run, type RunMemory, type RunSpec, type RunState } from './run.js';
export { RunTable } from './run-table.js';
export type { AverageState, Reader, Version } from './version.js';
export type { Writer } from './writer.js';
