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

/** Pages of a plane from one to the one before the other. */
interface PageRange {
  readonly from: number;
  to: number;
}

/**
 * The pages of `plane` on which the tensors lie that are taken, by their index in the layout: in ranges, because there may be
 * more pages than any list of them could hold.
 */
export function pagesOf(
  { dtype, pageElements }: Plane,
  { tensors }: Layout,
  isTaken: (index: number) => boolean,
): readonly PageRange[] {
  const ranges: PageRange[] = [];
  let last: PageRange | undefined;
  // In rising order: tensors that are sent once lie behind the other copied ones.
  for (const policy of dtype === undefined ? (['COPY', 'COPY_ONCE'] as const) : (['AVERAGE'] as const)) {
    for (let index = 0; index < tensors.length; index++) {
      const tensor = tensors[index]!;
      const length = dtype === undefined ? tensor.bytes : tensor.count;
      if (tensor.policy !== policy || length === 0 || !isTaken(index)) continue;
      const from = Math.floor(tensor.flat / pageElements);
      const to = Math.ceil((tensor.flat + length) / pageElements);
      if (last !== undefined && from <= last.to) {
        last.to = to;
        continue;
      }
      last = { from, to };
      ranges.push(last);
    }
  }
  return ranges;
}

export function countPages(ranges: readonly PageRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}

/** The pages of zeros that a table of these ranges wants. */
export function wantsOf(plane: Plane, ranges: readonly PageRange[]): PageWant[] {
  const wants: PageWant[] = [];
  for (const { from, to } of ranges) {
    for (let index = from; index < to; index++) wants.push({ home: homeOfPage(plane, index), skew: SKEW.shadow });
  }
  return wants;
}

/** A table with pages of zeros. Throws MEMORY_EXHAUSTED, saying `what`. */
export function allocateTable(pool: PagePool, plane: Plane, ranges: readonly PageRange[], what: string): PageTable {
  const table = new Array<Page | undefined>(plane.pageCount).fill(undefined);
  const pages = pool.allocateZeros(wantsOf(plane, ranges), what).values();
  for (const { from, to } of ranges) {
    for (let index = from; index < to; index++) table[index] = takeNext(pages);
  }
  return table;
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
