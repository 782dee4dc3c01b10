import { assert } from '../common/index.js';
import { SKEW } from './arena.js';
import type { AverageSpec } from './averages/index.js';
import type { Layout, PlacedTensor, TensorSpec } from './layout.js';
import type { Page, PagePool, PageWant } from './page-pool.js';
import { homeOfPage, type PageTable, type Plane } from './plane.js';
import { choiceOf } from './tensor-filter.js';

/** The tensors of a layout that an average takes. */
export function tensorsOf<Tensor extends TensorSpec>(
  layout: { readonly tensors: readonly Tensor[] },
  average: Pick<AverageSpec, 'include' | 'exclude'>,
): Tensor[] {
  const isTaken = choiceOf(layout.tensors, average);
  return layout.tensors.filter((_, index) => isTaken(index));
}

/** The tensors of a layout that are kept as they came. */
export function copiedTensorsOf(layout: Layout): PlacedTensor[] {
  return layout.tensors.filter(({ policy }) => policy === 'COPY' || policy === 'COPY_ONCE');
}

/** On how many pages of `plane` the tensors lie, without a list of them: there may be more than any memory holds. */
export function usedPageCount(plane: Plane, tensors: readonly PlacedTensor[]): number {
  let pageCount = 0;
  let next = 0;
  for (const { from, to } of pageRanges(
    plane,
    tensors.toSorted((a, b) => a.flat - b.flat),
  )) {
    pageCount += Math.max(0, to - Math.max(next, from));
    next = Math.max(next, to);
  }
  return pageCount;
}

/** Which pages of `plane` the tensors lie on. */
function usedPages(plane: Plane, tensors: readonly PlacedTensor[]): boolean[] {
  const isUsed = new Array<boolean>(plane.pageCount).fill(false);
  for (const { from, to } of pageRanges(plane, tensors)) isUsed.fill(true, from, to);
  return isUsed;
}

/** The pages of each tensor that has some: from the first to the one after the last. */
function* pageRanges(
  { dtype, pageElements }: Plane,
  tensors: readonly PlacedTensor[],
): Generator<{ from: number; to: number }> {
  for (const { flat, count, bytes } of tensors) {
    const length = dtype === undefined ? bytes : count;
    if (length > 0) yield { from: Math.floor(flat / pageElements), to: Math.ceil((flat + length) / pageElements) };
  }
}

/** A table with pages of zeros for the tensors of a plane. Throws MEMORY_EXHAUSTED, saying `what`. */
export function allocateTable(pool: PagePool, plane: Plane, tensors: readonly PlacedTensor[], what: string): PageTable {
  const isUsed = usedPages(plane, tensors);
  const wants = isUsed.flatMap((used, index): PageWant[] =>
    used ? [{ home: homeOfPage(plane, index), skew: SKEW.shadow }] : [],
  );
  const pages = pool.allocateZeros(wants, what).values();
  return isUsed.map((used) => (used ? takeNext(pages) : undefined));
}

/** The page of an element; a tensor that is read or folded has one. */
export function pageAt(table: PageTable, plane: Plane, flat: number): Page {
  const page = table[Math.floor(flat / plane.pageElements)];
  assert(page !== undefined, 'a tensor lies on pages of its plane');
  return page;
}

/** How many pages a table has. */
export function pageCountOf(table: PageTable): number {
  return table.reduce((sum, page) => sum + (page === undefined ? 0 : 1), 0);
}

export function takeNext(pages: Iterator<Page>): Page {
  const { value } = pages.next();
  assert(value !== undefined, 'one page was allocated for each want');
  return value;
}
