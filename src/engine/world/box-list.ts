import { assert, crc32c } from '../../common/index.js';

/** Boxes that are looked at between two yields: under a millisecond. */
const SLICE_BOXES = 1 << 15;

/** An N-dimensional rectangle of a tensor; both lists empty: the whole tensor. */
export interface Box {
  /** Index into the layout's tensors. */
  readonly tensor: number;
  readonly offset: readonly number[];
  readonly extent: readonly number[];
  /** 0: only this writer holds it. */
  readonly replicaGroup: number;
}

/**
 * Boxes in columns: a thousand writers with ten thousand boxes each are ten million, and an object for each would be a
 * gigabyte.
 */
export class BoxList {
  /** One entry for each box. */
  readonly tensor: Uint32Array;
  readonly replicaGroup: Uint32Array;
  /**
   * For each box: where its offsets and then its extents begin in `dims`, and at last where those of the last box end. A
   * whole tensor has none.
   */
  readonly first: Uint32Array;
  readonly dims: Uint32Array | Float64Array;

  constructor(tensor: Uint32Array, replicaGroup: Uint32Array, first: Uint32Array, dims: Uint32Array | Float64Array) {
    assert(tensor.length === replicaGroup.length && first.length === tensor.length + 1, 'the columns are of one list');
    this.tensor = tensor;
    this.replicaGroup = replicaGroup;
    this.first = first;
    this.dims = dims;
  }

  static of(boxes: readonly Box[]): BoxList {
    const first = new Uint32Array(boxes.length + 1);
    for (const [index, { offset, extent }] of boxes.entries()) {
      first[index + 1] = first[index]! + offset.length + extent.length;
    }
    return new BoxList(
      Uint32Array.from(boxes, ({ tensor }) => tensor),
      Uint32Array.from(boxes, ({ replicaGroup }) => replicaGroup),
      first,
      Float64Array.from(boxes.flatMap(({ offset, extent }) => [...offset, ...extent])),
    );
  }

  get count(): number {
    return this.tensor.length;
  }

  /** The offsets and extents of a box in a tensor of this shape. */
  place(index: number, shape: readonly number[]): { offset: ArrayLike<number>; extent: ArrayLike<number> } {
    const begin = this.first[index]!;
    const end = this.first[index + 1]!;
    if (begin === end) return { offset: new Float64Array(shape.length), extent: shape };
    const middle = begin + shape.length;
    return { offset: this.dims.subarray(begin, middle), extent: this.dims.subarray(middle, end) };
  }

  /** Where a box begins in a dimension. */
  offsetOf(index: number, dim: number): number {
    const begin = this.first[index]!;
    return begin === this.first[index + 1]! ? 0 : this.dims[begin + dim]!;
  }

  /** How long a box is in a dimension of a tensor of this shape. */
  extentOf(index: number, dim: number, shape: readonly number[]): number {
    const begin = this.first[index]!;
    return begin === this.first[index + 1]! ? shape[dim]! : this.dims[begin + shape.length + dim]!;
  }

  /** Number of elements of a box in a tensor of this shape. */
  elements(index: number, shape: readonly number[]): number {
    let elements = 1;
    for (let dim = 0; dim < shape.length; dim++) elements *= this.extentOf(index, dim, shape);
    return elements;
  }

  /** Counts the boxes that are in replica groups. Yields between slices. */
  *countShared(): Generator<void, number> {
    let count = 0;
    for (let index = 0; index < this.count; index++) {
      if (this.replicaGroup[index] !== 0) count += 1;
      if (index % SLICE_BOXES === SLICE_BOXES - 1) yield;
    }
    return count;
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.#columns.reduce((sum, column) => sum + column.byteLength, 0);
  }

  /** Two lists with the same one are the same. */
  get fingerprint(): string {
    const sums = this.#columns.map((column) => {
      return crc32c(new Uint8Array(column.buffer, column.byteOffset, column.byteLength)).toString(16);
    });
    return `${this.count}:${sums.join(':')}`;
  }

  get #columns(): readonly (Uint32Array | Float64Array)[] {
    return [this.tensor, this.replicaGroup, this.first, this.dims];
  }
}
