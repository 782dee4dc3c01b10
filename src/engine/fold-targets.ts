import { assert } from '../common/index.js';
import { SKEW } from './arena.js';
import type { FoldTarget } from './fold.js';
import type { Page, PagePool, PageWant } from './page-pool.js';
import { homeOfPage, type Plane } from './plane.js';
import type { Version } from './version.js';

/**
 * Where each plane's fold goes, given the weight of each: a page that only the head holds, and no reader, is folded in
 * place; any other gets a fresh page; what is held (weight 0) stays. Throws MEMORY_EXHAUSTED and allocates nothing when
 * the fresh pages do not fit.
 */
export function allocateTargets(
  pool: PagePool,
  planes: readonly Plane[],
  head: Version,
  weights: readonly number[],
): FoldTarget[] {
  const isCopied = (page: Page, weight: number): boolean => weight !== 0 && (page.refs > 1 || head.isPinned);
  const plans = planes.map((plane, index) => {
    const base = head.tables[index];
    assert(base !== undefined, 'a version has one table per plane');
    // Copied tensors are always assigned.
    return { plane, base, weight: weights[index] ?? 1 };
  });
  const wants = plans.flatMap(({ plane, base, weight }) =>
    base.flatMap((page, index): PageWant[] =>
      isCopied(page, weight)
        ? [{ home: homeOfPage(plane, index), skew: page.skew === SKEW.shadow ? SKEW.shadowCopy : SKEW.shadow }]
        : [],
    ),
  );
  const fresh = pool.allocate(wants, 'pages that readers hold').values();
  return plans.map((plan) => ({
    ...plan,
    target: plan.base.map((page) => (isCopied(page, plan.weight) ? takeNext(fresh) : page)),
  }));
}

function takeNext(pages: Iterator<Page>): Page {
  const { value } = pages.next();
  assert(value !== undefined, 'one fresh page was allocated for each want');
  return value;
}
