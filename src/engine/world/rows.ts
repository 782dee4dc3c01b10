import type { BoxList } from './box-list.js';

/** The dimensions that lead from row to row, outermost first, and how far one step in each goes. */
interface RowSteps {
  readonly extents: ArrayLike<number>;
  readonly strides: ArrayLike<number>;
}

/** Says how a box lies in its row-major tensor, in elements: as rows of consecutive elements, all of one length. */
export interface Rows extends RowSteps {
  /** The box's first element in the tensor. */
  readonly start: number;
  readonly rowLength: number;
  readonly rowCount: number;
  readonly extents: readonly number[];
  readonly strides: readonly number[];
}

/** No dimensions lead from one row to another where there is one row only. */
const NONE: readonly number[] = [];

/**
 * The rows of a box of a list, in a tensor of this shape: dimensions that it takes whole, and one more, make a row;
 * neighbours of the others are joined.
 */
export function rowsOf(shape: readonly number[], { first, dims }: BoxList, index: number): Rows {
  const offsets = first[index]!;
  const isWhole = offsets === first[index + 1]!;
  let start = 0;
  let rowLength = 1;
  let stride = 1;
  let isInRow = true;
  let extents: number[] | undefined;
  let strides: number[] | undefined;
  for (let dim = shape.length - 1; dim >= 0; dim--) {
    const count = isWhole ? shape[dim]! : dims[offsets + shape.length + dim]!;
    if (!isWhole) start += dims[offsets + dim]! * stride;
    if (isInRow) {
      rowLength *= count;
      isInRow = count === shape[dim];
    } else if (count !== 1) {
      // Two dimensions that run on into one another are one.
      if (extents === undefined || strides === undefined) {
        extents = [count];
        strides = [stride];
      } else if (strides[0]! * extents[0]! === stride) {
        extents[0]! *= count;
      } else {
        extents.unshift(count);
        strides.unshift(stride);
      }
    }
    stride *= shape[dim]!;
  }
  const rowCount = extents === undefined ? 1 : extents.reduce((product, count) => product * count, 1);
  return { start, rowLength, rowCount, extents: extents ?? NONE, strides: strides ?? NONE };
}

/** How far the start of a row lies behind the box's first element, in the unit of `strides`. */
export function rowOffset({ extents, strides }: RowSteps, row: number): number {
  let offset = 0;
  let rest = row;
  for (let dim = extents.length - 1; dim > 0; dim--) {
    const extent = extents[dim]!;
    offset += (rest % extent) * strides[dim]!;
    rest = Math.floor(rest / extent);
  }
  return extents.length === 0 ? 0 : offset + rest * strides[0]!;
}

/** Says of `length` units from `from` of a box, row by row, how far behind its first element each run of them lies. */
export function visitRows(
  rows: RowSteps,
  rowLength: number,
  from: number,
  length: number,
  visit: (offset: number, at: number, length: number) => void,
): void {
  for (let done = 0; done < length; ) {
    const column = (from + done) % rowLength;
    const count = Math.min(rowLength - column, length - done);
    visit(rowOffset(rows, Math.floor((from + done) / rowLength)) + column, done, count);
    done += count;
  }
}
