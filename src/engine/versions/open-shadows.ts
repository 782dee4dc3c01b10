import type { AverageSpec } from '../averages/index.js';
import { NO_PROGRESS } from '../averages/index.js';
import type { Layout } from '../layout/layout.js';
import type { Ledger } from '../memory/ledger.js';
import type { PagePool } from '../memory/page-pool.js';
import type { PageTable, PlaneShape, ShadowPlane } from '../memory/plane.js';
import { allocateTable, allPages, countPages, pagesOf, wantsOf } from '../memory/tables.js';
import type { Shadow, VersionContent } from './version.js';

/** Allocates the empty shadow of an average. Throws MEMORY_EXHAUSTED. */
export function openShadow(
  pool: PagePool,
  shape: PlaneShape,
  layout: Layout,
  spec: AverageSpec,
  addedAtStep: number | undefined,
): Shadow {
  const plane = shape.plane(spec.precision, layout.averagedLength);
  const pages = pagesOf(plane, layout, spec);
  return shadowOf(spec, plane, allocateTable(pool, plane, pages, 'shadows'), addedAtStep);
}

function shadowOf(spec: AverageSpec, plane: ShadowPlane, table: PageTable, addedAtStep: number | undefined): Shadow {
  // The time of an average that is added later begins at the step where it is added.
  const progress = { ...NO_PROGRESS, originStep: addedAtStep, lastStep: addedAtStep };
  return { spec, plane, table, state: { ...progress, movement: undefined, addedAtStep } };
}

/**
 * Allocates what a run consists of before its first commit. Throws MEMORY_EXHAUSTED unless it fits together with one step
 * in flight.
 */
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
  const copiedPages = allPages(copiedPlane);
  const shadows = averages.map((spec) => {
    const plane = shape.plane(spec.precision, layout.averagedLength);
    return { spec, plane, pages: pagesOf(plane, layout, spec) };
  });
  // Checked before anything is allocated, so that a refusal leaves nothing behind.
  const pageCount = shadows.reduce(
    (sum, { pages }) => sum + countPages(pages),
    countPages(copiedPages) + Math.ceil(stepBytes / pool.pageBytes),
  );
  ledger.check(pool.bytesOf(pageCount), `${what} with one step in flight`);
  pool.makeFree(
    [...shadows, { plane: copiedPlane, pages: copiedPages }].flatMap(({ plane, pages }) => wantsOf(plane, pages)),
    'shadows',
  );
  return {
    step: undefined,
    generation: 0,
    shadows: shadows.map(({ spec, plane, pages }) =>
      shadowOf(spec, plane, allocateTable(pool, plane, pages, 'shadows'), undefined),
    ),
    copied: { plane: copiedPlane, table: allocateTable(pool, copiedPlane, copiedPages, 'copied tensors') },
    snapshots: [],
  };
}
