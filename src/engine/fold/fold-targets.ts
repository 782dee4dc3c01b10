import type { Advance } from '../averages/index.js';
import { SKEW } from '../memory/arena.js';
import type { Page, PagePool, PageWant } from '../memory/page-pool.js';
import { homeOfPage, type PageTable, type Plane } from '../memory/plane.js';
import { takeNext } from '../memory/tables.js';
import type { Version } from '../versions/version.js';
import type { FoldTarget } from './fold.js';
import { MovementMeter } from './movement.js';

/**
 * Where each plane's fold goes, given the weight of each average, the copied plane last: a page that only the head
 * holds, and no reader, is folded in place; any other gets a fresh page; what is held (weight 0), or lies behind the
 * `copiedBytes` that the step writes, stays. Throws MEMORY_EXHAUSTED and allocates nothing when the fresh pages do not fit.
 */
export function allocateTargets(
  pool: PagePool,
  head: Version,
  advances: readonly Advance[],
  copiedBytes: number,
): FoldTarget[] {
  const { plane: copiedPlane, table: copiedTable } = head.copied;
  const plans: Written[] = [
    ...head.shadows.map(({ plane, table }, index) => {
      const weight = advances[index]?.weight ?? 0;
      return { plane, base: table, weight, pageCount: weight === 0 ? 0 : table.length };
    }),
    // Copied tensors are always assigned.
    {
      plane: copiedPlane,
      base: copiedTable,
      weight: 1,
      pageCount: Math.ceil(copiedBytes / copiedPlane.pageElements),
    },
  ];
  const isFresh = (page: Page | undefined, index: number, { pageCount }: Written): page is Page =>
    page !== undefined && index < pageCount && head.holds(page);
  const wants = plans.flatMap((plan) =>
    plan.base.flatMap((page, index): PageWant[] =>
      isFresh(page, index, plan) ? [freshWant(plan.plane, page, index)] : [],
    ),
  );
  const fresh = pool.allocate(wants, 'pages that readers hold').values();
  return plans.map((plan): FoldTarget => {
    const { plane, base, weight } = plan;
    const target: PageTable = base.map((page, index) => (isFresh(page, index, plan) ? takeNext(fresh) : page));
    const isBlend = plane.dtype !== undefined && weight > 0 && weight < 1;
    // Only the planes of averages have a dtype, and that is the precision of their arithmetic.
    const meter = isBlend ? new MovementMeter(plane.dtype as 'F32' | 'F64', weight) : undefined;
    return { plane, base, target, weight, meter };
  });
}

/** A table and how many of its first pages are written. */
interface Written {
  readonly plane: Plane;
  readonly base: PageTable;
  readonly weight: number;
  readonly pageCount: number;
}

function freshWant(plane: Plane, page: Page, index: number): PageWant {
  return { home: homeOfPage(plane, index), skew: page.skew === SKEW.shadow ? SKEW.shadowCopy : SKEW.shadow };
}
