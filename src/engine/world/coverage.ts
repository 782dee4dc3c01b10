import { BOX_CUT_COUNT_MAX } from '../../common/index.js';
import type { TensorTable } from '../layout/tensor-table.js';
import type { BoxList } from './box-list.js';
import { CornerSums } from './corner-sums.js';

/** Largest number of corners of one box that lie inside its tensor. */
const BOX_CORNER_COUNT_MAX = 2 ** BOX_CUT_COUNT_MAX;

/** The first element of a tensor that is in no box, or in more than one. */
export interface Fault {
  /** The tensor's index in the layout. */
  readonly tensor: number;
  /** The element's index in each dimension. */
  readonly element: readonly number[];
  /** Number of boxes that hold the element: 0, or more than 1. */
  readonly boxCount: number;
}

/**
 * Proves that boxes tile tensors: that each element is in exactly one of them.
 *
 * Let c(x) be in how many boxes x is, minus one. A box adds ±1 to the mixed difference of c at each of its corners, and
 * c ≡ 0 exactly when all these sum to zero. So only corners are kept, and where boxes meet they cancel: a box costs as
 * many look-ups as it has corners inside of the tensor (2 when it is cut along one dimension), whatever the
 * others are, and boxes that come in order leave next to nothing behind.
 *
 * Corners at the tensor's far end say nothing about its inside and are left out. A corner is named by its row-major
 * index. What the smallest one that is left sums to is c itself at that element, because only corners before it could
 * add to it: it is the first element at fault.
 */
export class Coverage {
  readonly #tensors: TensorTable;
  /**
   * For each tensor: one corner and its sum (0: none). Boxes that come in order leave no more than one corner at a time.
   * The other corners are in a table, by their place among the elements of all tensors.
   */
  readonly #corner: Float64Array;
  readonly #sum: Int32Array;
  readonly #others: CornerSums;
  /** For each tensor: the place of its first element among the elements of all tensors. */
  readonly #begin: Float64Array;
  /** Number of tensors with a sum that is not 0 at their own corner. */
  #ownCount = 0;
  /** Number of boxes that were added. The table counts its own work. */
  #boxCount = 0;
  /** For each dimension in which the present box ends inside its tensor: the distance to its far side, in elements. */
  readonly #cuts: number[] = [];

  /**
   * Tensors without elements, and tensors that are not sent, need no boxes. `reserve` is called with the bytes that the
   * table takes, and throws when there is no memory for them.
   */
  constructor(tensors: TensorTable, reserve: (bytes: number) => void) {
    this.#tensors = tensors;
    this.#corner = new Float64Array(tensors.length);
    this.#sum = new Int32Array(tensors.length);
    this.#begin = new Float64Array(tensors.length);
    this.#others = new CornerSums(reserve);
    let begin = 0;
    for (let index = 0; index < tensors.length; index++) {
      const count = tensors.countOf(index);
      this.#begin[index] = begin;
      begin += count;
      if (count > 0 && tensors.policyOf(index) !== 'IGNORE') this.#bump(index, 0, -1);
    }
  }

  /** Whether there is room for one more box. */
  get hasRoom(): boolean {
    return this.#others.hasRoom(BOX_CORNER_COUNT_MAX);
  }

  /** Makes room for one more box. Yields between slices; throws what `reserve` throws. */
  *makeRoom(): Generator<void> {
    yield* this.#others.makeRoom(BOX_CORNER_COUNT_MAX);
  }

  /** Work that was done so far, in boxes and look-ups. */
  get work(): number {
    return this.#boxCount + this.#others.work;
  }

  /** Adds a box of a list. There must be room for it. */
  add(boxes: BoxList, index: number): void {
    this.#boxCount += 1;
    const tensor = boxes.tensor[index]!;
    const begin = boxes.first[index]!;
    if (this.#tensors.countOf(tensor) === 0) return;
    if (begin === boxes.first[index + 1]!) {
      this.#bump(tensor, 0, 1);
      return;
    }
    const shape = this.#tensors.shapeOf(tensor);
    const cuts = this.#cuts;
    let corner = 0;
    let stride = 1;
    let cutCount = 0;
    for (let dim = shape.length - 1; dim >= 0; dim--) {
      const offset = boxes.dims[begin + dim]!;
      const extent = boxes.dims[begin + shape.length + dim]!;
      if (extent === 0) return;
      corner += offset * stride;
      if (offset + extent < shape[dim]!) cuts[cutCount++] = extent * stride;
      stride *= shape[dim]!;
    }
    for (let subset = 0; subset < 1 << cutCount; subset++) {
      let at = corner;
      let sum = 1;
      for (let cut = 0; cut < cutCount; cut++) {
        if ((subset & (1 << cut)) === 0) continue;
        at += cuts[cut]!;
        sum = -sum;
      }
      this.#bump(tensor, at, sum);
    }
  }

  /** The first fault of the first tensor that has one; undefined: the boxes tile every tensor. Yields between slices. */
  *fault(): Generator<void, Fault | undefined> {
    if (this.#ownCount === 0 && this.#others.size === 0) return undefined;
    let { corner: first, sum } = yield* this.#others.first();
    const own = this.#sum.findIndex((value) => value !== 0);
    if (own >= 0 && this.#begin[own]! + this.#corner[own]! < first) {
      first = this.#begin[own]! + this.#corner[own]!;
      sum = this.#sum[own]!;
    }
    const index = this.#begin.findLastIndex((begin, at) => begin <= first && this.#tensors.countOf(at) > 0);
    first -= this.#begin[index]!;
    const element: number[] = [];
    for (const extent of this.#tensors.shapeOf(index).toReversed()) {
      element.unshift(first % extent);
      first = Math.floor(first / extent);
    }
    return { tensor: index, element, boxCount: sum + 1 };
  }

  #bump(tensor: number, corner: number, by: number): void {
    const own = this.#sum[tensor]!;
    if (own !== 0 && this.#corner[tensor] === corner) {
      this.#sum[tensor] = own + by;
      if (own + by === 0) this.#ownCount -= 1;
    } else if (own === 0 && this.#others.size === 0) {
      this.#corner[tensor] = corner;
      this.#sum[tensor] = by;
      this.#ownCount += 1;
    } else {
      this.#others.add(this.#begin[tensor]! + corner, by);
    }
  }
}
