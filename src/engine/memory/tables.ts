import { assert, toEnd } from '../../common/index.js';
import type { AverageSpec } from '../averages/index.js';
import type { Layout } from '../layout/layout.js';
import { choiceOf, isFiltered, type TensorFilter } from '../layout/tensor-filter.js';
import { SKEW } from './arena.js';
import type { Page, PagePool, PageWant } from './page-pool.js';
import { homeOfPage, type PageTable, type Plane } from './plane.js';

/** The tensors of a layout that an average takes, by index. */
export function tensorsOf({ tensors }: Layout, average: TensorFilter): number[] {
  return indicesWhere(tensors.length, choiceOf(tensors, average));
}

/** The tensors of a layout that are kept as they came, by index. */
export function copiedTensorsOf({ tensors }: Layout): number[] {
  return indicesWhere(tensors.length, (index) => {
    const policy = tensors.policyOf(index);
    return policy === 'COPY' || policy === 'COPY_ONCE';
  });
}

function indicesWhere(count: number, isWanted: (index: number) => boolean): number[] {
  const indices: number[] = [];
  for (let index = 0; index < count; index++) if (isWanted(index)) indices.push(index);
  return indices;
}

/** Tensors that are looked at between two yields: under a millisecond. */
const SLICE_TENSORS = 4_096;

/** Pages of a plane, from the page `from` to the page before `to`. */
interface PageRange {
  readonly from: number;
  to: number;
}

/**
 * For each average that leaves tensors out: the pages on which its tensors lie. They are kept because finding them takes
 * long.
 */
const found = new WeakMap<
  AverageSpec,
  { readonly layout: Layout; readonly size: number; readonly pages: PageRange[] }
>();

/** All pages of a plane, as one range: tensors lie in it one behind the other. */
export function allPages({ pageCount }: Plane): readonly PageRange[] {
  return pageCount === 0 ? [] : [{ from: 0, to: pageCount }];
}

/**
 * The pages of a plane on which the tensors of an average lie. They are ranges, because there may be more pages than a
 * list could hold.
 */
export function pagesOf(plane: Plane, layout: Layout, average: AverageSpec): readonly PageRange[] {
  return isFiltered(average) ? toEnd(findingPages(plane.pageElements, layout, average)) : allPages(plane);
}

/** Finds the pages, of `size` elements, of an average that leaves tensors out. Yields between slices. */
export function* findingPages(size: number, layout: Layout, average: AverageSpec): Generator<void, PageRange[]> {
  const known = found.get(average);
  if (known?.layout === layout && known.size === size) return known.pages;
  const { tensors } = layout;
  const isTaken = choiceOf(tensors, average);
  const pages: PageRange[] = [];
  for (let index = 0; index < tensors.length; index++) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    const [flat, count] = [tensors.flatOf(index), tensors.countOf(index)];
    if (!isTaken(index) || count === 0) continue;
    const from = Math.floor(flat / size);
    const to = Math.ceil((flat + count) / size);
    const last = pages.at(-1);
    if (last !== undefined && from <= last.to) last.to = to;
    else pages.push({ from, to });
  }
  found.set(average, { layout, size, pages });
  return pages;
}

export function countPages(ranges: readonly PageRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}

/** The requests for the pages of zeros of a table that has these ranges. */
export function wantsOf(plane: Plane, ranges: readonly PageRange[]): PageWant[] {
  const wants: PageWant[] = [];
  for (const { from, to } of ranges) {
    for (let index = from; index < to; index++) wants.push({ home: homeOfPage(plane, index), skew: SKEW.shadow });
  }
  return wants;
}

/** Allocates a table with pages of zeros. Throws MEMORY_EXHAUSTED, and says `what` in its text. */
export function allocateTable(pool: PagePool, plane: Plane, ranges: readonly PageRange[], what: string): PageTable {
  const table = new Array<Page | undefined>(plane.pageCount).fill(undefined);
  const pages = pool.allocateZeros(wantsOf(plane, ranges), what).values();
  for (const { from, to } of ranges) {
    for (let index = from; index < to; index++) table[index] = takeNext(pages);
  }
  return table;
}

/** The page of an element of a tensor that is read or folded. Such a tensor has all its pages. */
export function pageAt(table: PageTable, plane: Plane, flat: number): Page {
  const page = table[Math.floor(flat / plane.pageElements)];
  assert(page !== undefined, 'a tensor lies on pages of its plane');
  return page;
}

/** Number of pages that a table has. */
export function pageCountOf(table: PageTable): number {
  return table.reduce((sum, page) => sum + (page === undefined ? 0 : 1), 0);
}

export function takeNext(pages: Iterator<Page>): Page {
  const { value } = pages.next();
  assert(value !== undefined, 'one page was allocated for each want');
  return value;
}
