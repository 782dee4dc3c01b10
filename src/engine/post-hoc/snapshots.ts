import { DTYPE_BYTES, type FloatDType, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec, Progress } from '../averages/index.js';
import type { Layout } from '../layout/layout.js';
import type { PagePool } from '../memory/page-pool.js';
import type { PlaneShape } from '../memory/plane.js';
import { allocateTable, pageCountOf, pagesOf, tensorsOf } from '../memory/tables.js';
import { Snapshot } from './snapshot.js';

/** How a run keeps snapshots of its power-function averages; the proto's Snapshots explains the fields. */
export interface SnapshotsSpec {
  readonly everySteps: number;
  readonly countMax: number;
  /** 0: what the ledger leaves. */
  readonly bytesMax: number;
  readonly dtype: FloatDType;
}

/** An average whose snapshots can be combined. */
export interface PowerAverage {
  readonly spec: AverageSpec;
  readonly gamma: number;
  readonly time: number;
}

/** The exponent of a power-function average and the length of its profile; undefined for others, and before it folds. */
export function powerAverage(spec: AverageSpec, progress: Progress): PowerAverage | undefined {
  if (spec.schedule.kind !== 'power_function' || progress.numUpdates === 0) return undefined;
  const { numUpdates, lastStep = 0, originStep = 0 } = progress;
  const time = spec.decayUnit === 'PER_STEP' ? Math.max(1, lastStep - originStep) : numUpdates;
  return { spec, gamma: spec.schedule.gamma, time };
}

/** Whether `step` reaches the next multiple of the cadence. */
export function isDue(snapshots: readonly Snapshot[], everySteps: number, step: number): boolean {
  const last = snapshots.reduce((latest, snapshot) => Math.max(latest, snapshot.step), 0);
  return Math.floor(step / everySteps) > Math.floor(last / everySteps);
}

/** The cadence doubled, and the snapshots that it would have taken: about every second one, over the whole training. */
export function thin(snapshots: readonly Snapshot[], everySteps: number): { kept: Snapshot[]; everySteps: number } {
  const doubled = 2 * everySteps;
  const steps = [...new Set(snapshots.map((snapshot) => snapshot.step))].sort((a, b) => a - b);
  const kept = new Set<number>();
  let period = 0;
  for (const step of steps) {
    if (Math.floor(step / doubled) <= period) continue;
    period = Math.floor(step / doubled);
    kept.add(step);
  }
  return { kept: snapshots.filter((snapshot) => kept.has(snapshot.step)), everySteps: doubled };
}

/** Whether one more of each average would be too many, or their bytes. */
export function isFull(spec: SnapshotsSpec, held: readonly Snapshot[], addedBytes: number): boolean {
  const steps = new Set(held.map((snapshot) => snapshot.step)).size;
  return steps >= spec.countMax || (spec.bytesMax > 0 && bytesOf(held) + addedBytes > spec.bytesMax);
}

/** Memory of snapshots, bytes. */
export function bytesOf(snapshots: readonly Snapshot[]): number {
  return snapshots.reduce((sum, { plane, table }) => {
    return sum + pageCountOf(table) * plane.pageElements * plane.elementBytes;
  }, 0);
}

/** An empty snapshot of an average of `step`. Throws MEMORY_EXHAUSTED. */
export function allocateSnapshot(
  pool: PagePool,
  shape: PlaneShape,
  layout: Layout,
  dtype: FloatDType,
  { spec, gamma, time }: PowerAverage,
  step: number,
): Snapshot {
  const plane = shape.plane(dtype, layout.averagedLength);
  const table = allocateTable(pool, plane, pagesOf(plane, layout, spec), 'a snapshot');
  return new Snapshot(pool, { average: spec.name, gamma, step, time, plane, table });
}

/** Throws INVALID_AVERAGE unless two snapshots of each of the power-function averages fit into the bytes allowed. */
export function checkSnapshotBytes(spec: SnapshotsSpec, layout: Layout, averages: readonly AverageSpec[]): void {
  const power = averages.filter(({ schedule }) => schedule.kind === 'power_function');
  const elements = power.reduce(
    (sum, average) =>
      sum + tensorsOf(layout, average).reduce((total, tensor) => total + layout.tensors.countOf(tensor), 0),
    0,
  );
  const neededBytes = 2 * elements * DTYPE_BYTES[spec.dtype];
  if (spec.bytesMax === 0 || neededBytes <= spec.bytesMax) return;
  throw new ShadowkeepError(
    'INVALID_AVERAGE',
    `snapshots.bytes_max must be at least ${neededBytes}, two snapshots of each average, got ${spec.bytesMax}`,
    { metadata: { field: 'snapshots.bytes_max' } },
  );
}
