import type { PlacedTensor } from '../layout.js';
import type { BoxList } from './box-list.js';

/** The first element of a tensor that is in no box, or in more than one. */
export interface Fault {
  readonly tensor: PlacedTensor;
  /** Its index in each dimension. */
  readonly element: readonly number[];
  /** In how many boxes it is: 0, or more than 1. */
  readonly boxCount: number;
}

/**
 * Proves that boxes tile tensors: that each element is in exactly one of them.
 *
 * Let c(x) be in how many boxes x is, minus one. A box adds ±1 to the mixed difference of c at each of its corners, and
 * c ≡ 0 exactly when all these sum to zero. So only corners are kept, and where boxes meet they cancel: a box costs as
 * many map operations as it has corners inside of the tensor (2 when it is cut along one dimension), whatever the
 * others are, and boxes that come in order leave next to nothing behind.
 *
 * Corners at the tensor's far end say nothing about its inside and are left out. A corner is named by its row-major
 * index. What the smallest one that is left sums to is c itself at that element, because only corners before it could
 * add to it: it is the first element at fault.
 */
export class Coverage {
  readonly #tensors: readonly PlacedTensor[];
  /**
   * By tensor: the sum at each corner where it is not zero. One has a place of its own (none where its sum is 0), because
   * boxes that come in order leave no more; the others are in a map.
   */
  readonly #corner: Float64Array;
  readonly #sum: Int32Array;
  readonly #others: (Map<number, number> | undefined)[];
  /** How many tensors have any. */
  #faultyCount = 0;
  /** Of the box at hand: how far its far side lies in each dimension in which that is inside of the tensor. */
  readonly #cuts: number[] = [];

  /** Tensors without elements, and those that are not sent, need no boxes. */
  constructor(tensors: readonly PlacedTensor[]) {
    this.#tensors = tensors;
    this.#corner = new Float64Array(tensors.length);
    this.#sum = new Int32Array(tensors.length);
    this.#others = new Array(tensors.length).fill(undefined);
    for (const [index, { count, policy }] of tensors.entries()) {
      if (count > 0 && policy !== 'IGNORE') this.#bump(index, 0, -1);
    }
  }

  /** Adds a box of a list, or with sign -1 takes it back. */
  add(boxes: BoxList, index: number, sign: 1 | -1): void {
    const tensor = boxes.tensor[index]!;
    const { shape, count } = this.#tensors[tensor]!;
    const begin = boxes.first[index]!;
    if (count === 0) return;
    if (begin === boxes.first[index + 1]!) {
      this.#bump(tensor, 0, sign);
      return;
    }
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
      let sum: number = sign;
      for (let cut = 0; cut < cutCount; cut++) {
        if ((subset & (1 << cut)) === 0) continue;
        at += cuts[cut]!;
        sum = -sum;
      }
      this.#bump(tensor, at, sum);
    }
  }

  /** The first fault of the first tensor that has one; undefined: the boxes tile every tensor. */
  get fault(): Fault | undefined {
    if (this.#faultyCount === 0) return undefined;
    const index = this.#tensors.findIndex((_, at) => this.#sum[at] !== 0 || (this.#others[at]?.size ?? 0) > 0);
    const tensor = this.#tensors[index]!;
    let [first, sum] =
      this.#sum[index] === 0 ? [Number.POSITIVE_INFINITY, 0] : [this.#corner[index]!, this.#sum[index]!];
    for (const [corner, value] of this.#others[index] ?? []) if (corner < first) [first, sum] = [corner, value];
    const element: number[] = [];
    for (const extent of tensor.shape.toReversed()) {
      element.unshift(first % extent);
      first = Math.floor(first / extent);
    }
    return { tensor, element, boxCount: sum + 1 };
  }

  #bump(tensor: number, corner: number, by: number): void {
    const others = this.#others[tensor];
    const isOnlyOne = others === undefined || others.size === 0;
    if (this.#sum[tensor] !== 0 && this.#corner[tensor] === corner) {
      this.#sum[tensor]! += by;
      if (this.#sum[tensor] === 0 && isOnlyOne) this.#faultyCount -= 1;
    } else if (this.#sum[tensor] === 0 && isOnlyOne) {
      this.#corner[tensor] = corner;
      this.#sum[tensor] = by;
      this.#faultyCount += 1;
    } else {
      this.#bumpOther(tensor, corner, by);
    }
  }

  #bumpOther(tensor: number, corner: number, by: number): void {
    const others = this.#others[tensor] ?? new Map<number, number>();
    this.#others[tensor] = others;
    const sum = (others.get(corner) ?? 0) + by;
    if (sum !== 0) {
      others.set(corner, sum);
    } else {
      others.delete(corner);
      if (others.size === 0 && this.#sum[tensor] === 0) this.#faultyCount -= 1;
    }
  }
}
