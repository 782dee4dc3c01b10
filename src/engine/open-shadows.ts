import type { AverageSpec } from './averages/index.js';
import { NO_PROGRESS } from './averages/index.js';
import type { Layout } from './layout.js';
import type { Ledger } from './ledger.js';
import type { PagePool } from './page-pool.js';
import type { PlaneShape } from './plane.js';
import { allocateTable, copiedTensorsOf, tensorsOf, usedPageCount } from './tables.js';
import type { Shadow, VersionContent } from './version.js';

/** The empty shadow of an average. Throws MEMORY_EXHAUSTED. */
export function openShadow(
  pool: PagePool,
  shape: PlaneShape,
  layout: Layout,
  spec: AverageSpec,
  addedAtStep: number | undefined,
): Shadow {
  const plane = shape.plane(spec.precision, layout.averagedLength);
  const table = allocateTable(pool, plane, tensorsOf(layout, spec), 'shadows');
  // Time of an average that is added later begins where it is added.
  const progress = { ...NO_PROGRESS, originStep: addedAtStep, lastStep: addedAtStep };
  return { spec, plane, table, state: { ...progress, movement: undefined, addedAtStep } };
}

/** What a run is before its first commit. Throws MEMORY_EXHAUSTED unless it fits together with one step in flight. */
export function openContent(
  pool: PagePool,
  shape: PlaneShape,
  layout: Layout,
  averages: readonly AverageSpec[],
  stepBytes: number,
  ledger: Ledger,
  what: string,
): VersionContent {
  const copiedPlane = shape.copiedPlane(layout.copiedLength);
  const copiedTensors = copiedTensorsOf(layout);
  // Before anything is made: a layout may say more pages than a list of them could hold.
  const pageCount = averages.reduce(
    (sum, spec) => sum + usedPageCount(shape.plane(spec.precision, layout.averagedLength), tensorsOf(layout, spec)),
    usedPageCount(copiedPlane, copiedTensors) + Math.ceil(stepBytes / pool.pageBytes),
  );
  ledger.check(pool.bytesOf(pageCount), `${what} with one step in flight`);
  return {
    step: undefined,
    generation: 0,
    shadows: averages.map((spec) => openShadow(pool, shape, layout, spec, undefined)),
    copied: { plane: copiedPlane, table: allocateTable(pool, copiedPlane, copiedTensors, 'copied tensors') },
    snapshots: [],
  };
}
