import { assert, crc32c } from '../../common/index.js';
import type { TensorSpec } from '../layout.js';

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
  /** Where a box begins in `dims`, and where the last one ends: its offsets, then its extents; nothing of a whole tensor. */
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

  /** Offsets and extents of a box of this shape. */
  place(index: number, { shape }: Pick<TensorSpec, 'shape'>): { offset: ArrayLike<number>; extent: ArrayLike<number> } {
    const begin = this.first[index]!;
    const end = this.first[index + 1]!;
    if (begin === end) return { offset: new Float64Array(shape.length), extent: shape };
    const middle = begin + shape.length;
    return { offset: this.dims.subarray(begin, middle), extent: this.dims.subarray(middle, end) };
  }

  /** How many elements a box of this shape has. */
  elements(index: number, tensor: Pick<TensorSpec, 'shape'>): number {
    const { extent } = this.place(index, tensor);
    let elements = 1;
    for (let dim = 0; dim < extent.length; dim++) elements *= extent[dim]!;
    return elements;
  }

  /** Whether a box of it is one of a replica group. */
  get hasReplicas(): boolean {
    return this.replicaGroup.some((group) => group !== 0);
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
