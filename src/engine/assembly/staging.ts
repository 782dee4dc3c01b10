import { DTYPE_BYTES } from '../../common/index.js';
import type { WirePlan } from '../layout/wire-plan.js';
import { SKEW } from '../memory/arena.js';
import type { Page, PagePool } from '../memory/page-pool.js';
import { homeOf, type Plane } from '../memory/plane.js';

/**
 * Allocates pages for the byte space of a step. Each page lies in the arena that holds the same elements of `plane`, a
 * plane that the step is folded into, so that kernels reach both. Throws MEMORY_EXHAUSTED.
 */
export function allocateStaging(pool: PagePool, plan: WirePlan, stagedBytes: number, plane: Plane | undefined): Page[] {
  const homes = stagingHomes(plan, stagedBytes, pool.pageBytes, plane);
  return pool.allocate(
    homes.map((home) => ({ home, skew: SKEW.staging })),
    'one step in flight',
  );
}

function stagingHomes(plan: WirePlan, stagedBytes: number, pageBytes: number, plane: Plane | undefined): number[] {
  const homes: number[] = new Array(Math.ceil(stagedBytes / pageBytes)).fill(0);
  if (plane === undefined) return homes;
  let next = 0;
  for (const segment of plan.segments) {
    const from = Math.floor(segment.stepOffset / pageBytes);
    if (segment.dtype === undefined) continue;
    const size = DTYPE_BYTES[segment.dtype];
    const to = Math.ceil((segment.stepOffset + segment.count * size) / pageBytes);
    for (let page = Math.max(from, next); page < to; page++) {
      const element = segment.flat + Math.max(0, page * pageBytes - segment.stepOffset) / size;
      homes[page] = homeOf(plane, element);
    }
    next = Math.max(next, to);
  }
  return homes;
}
