/** How a box lies in its row-major tensor: rows of consecutive elements, all of one length. Counted in elements. */
export interface Rows {
  /** The box's first element in the tensor. */
  readonly start: number;
  readonly rowLength: number;
  readonly rowCount: number;
  /** The dimensions that lead from row to row, outermost first, and how far one step in each goes. */
  readonly extents: readonly number[];
  readonly strides: readonly number[];
}

/** The rows of a box: dimensions that it takes whole, and one more, make a row; neighbours of the others are joined. */
export function rowsOf(shape: readonly number[], offset: ArrayLike<number>, extent: ArrayLike<number>): Rows {
  let start = 0;
  let rowLength = 1;
  let stride = 1;
  let isInRow = true;
  const extents: number[] = [];
  const strides: number[] = [];
  for (let dim = shape.length - 1; dim >= 0; dim--) {
    const count = extent[dim]!;
    start += offset[dim]! * stride;
    if (isInRow) {
      rowLength *= count;
      isInRow = count === shape[dim];
    } else if (count !== 1) {
      // Two dimensions that run on into one another are one.
      if (extents.length > 0 && strides[0]! * extents[0]! === stride) {
        extents[0]! *= count;
      } else {
        extents.unshift(count);
        strides.unshift(stride);
      }
    }
    stride *= shape[dim]!;
  }
  const rowCount = extents.reduce((product, count) => product * count, 1);
  return { start, rowLength, rowCount, extents, strides };
}

/** How far the start of a row lies behind the box's first element, in the unit of `strides`. */
export function rowOffset({ extents, strides }: Pick<Rows, 'extents' | 'strides'>, row: number): number {
  let offset = 0;
  let rest = row;
  for (let dim = extents.length - 1; dim > 0; dim--) {
    const extent = extents[dim]!;
    offset += (rest % extent) * strides[dim]!;
    rest = Math.floor(rest / extent);
  }
  return extents.length === 0 ? 0 : offset + rest * strides[0]!;
}
