import type { Precision } from '../common/index.js';
import type { AverageSpec } from './averages/index.js';
import { NO_PROGRESS } from './averages/index.js';
import type { Layout } from './layout.js';
import type { Ledger } from './ledger.js';
import type { PagePool } from './page-pool.js';
import type { PageTable, PlaneShape, ShadowPlane } from './plane.js';
import { allocateTable, countPages, pagesOf, wantsOf } from './tables.js';
import { choiceOf, isFiltered } from './tensor-filter.js';
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
  const pages = pagesOf(plane, layout, choiceOf(layout.tensors, spec));
  return shadowOf(spec, plane, allocateTable(pool, plane, pages, 'shadows'), addedAtStep);
}

function shadowOf(spec: AverageSpec, plane: ShadowPlane, table: PageTable, addedAtStep: number | undefined): Shadow {
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
  const copiedPages = pagesOf(copiedPlane, layout, () => true);
  // Of averages that take every tensor, by precision: counted once.
  const whole = new Map<Precision, ReturnType<typeof pagesOf>>();
  const shadows = averages.map((spec) => {
    const plane = shape.plane(spec.precision, layout.averagedLength);
    const known = isFiltered(spec) ? undefined : whole.get(spec.precision);
    const pages = known ?? pagesOf(plane, layout, choiceOf(layout.tensors, spec));
    if (!isFiltered(spec)) whole.set(spec.precision, pages);
    return { spec, plane, pages };
  });
  // Before anything is made.
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
