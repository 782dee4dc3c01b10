import type { TensorTable } from '../layout/tensor-table.js';
import type { BoxList } from './box-list.js';
import { mixed } from './mixed.js';
import { sortedFalling } from './sorted-falling.js';

/** Bytes of all columns for each box: of its replica, its slots and its membership. */
const BOX_BYTES = 20 + 16 + 12;

/** Members that are looked at between two yields: under a millisecond. */
const SLICE_MEMBERS = 8_192;

/**
 * Knows which writers hold each box of the replica groups, and which of them sends it. It is made of columns, because
 * ranks that hold the same shards declare millions of boxes.
 */
export class Replicas {
  readonly #tensors: TensorTable;
  readonly #lists: readonly BoxList[];
  /**
   * A hash table: the number of a replica plus 1, in the first free slot from the slot of its hash on; 0 is a free slot.
   */
  readonly #slots: Int32Array;
  /** For each replica: its number of elements, its hash, its first and its last member. */
  readonly #elements: Float64Array;
  readonly #hashes: Int32Array;
  readonly #firsts: Int32Array;
  readonly #lasts: Int32Array;
  #count = 0;
  /**
   * For each member: the writer of the box, the box's index in that writer's list, and the next member of its replica (0:
   * none).
   */
  readonly #writers: Int32Array;
  readonly #indices: Int32Array;
  readonly #nexts: Int32Array;
  #memberCount = 0;
  /** Work that was done so far, in slots that were looked at. */
  work = 0;

  /** `lists` has the boxes of all writers, by their numbers; `boxCount` of the boxes are in groups. */
  constructor(tensors: TensorTable, lists: readonly BoxList[], boxCount: number) {
    this.#tensors = tensors;
    this.#lists = lists;
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * boxCount + 1)));
    this.#elements = new Float64Array(boxCount);
    [this.#hashes, this.#firsts, this.#lasts] = threeColumns(boxCount);
    [this.#writers, this.#indices, this.#nexts] = threeColumns(boxCount);
  }

  /** Memory of the columns for so many boxes, bytes. */
  static bytesOf(boxCount: number): number {
    return boxCount * BOX_BYTES;
  }

  /**
   * Adds a box of a writer to its replica. Returns false when the box is the first one there; two boxes of one writer are
   * never in one replica. Writers must join in rising order.
   */
  join(writer: number, index: number): boolean {
    const hash = this.#hashOf(writer, index);
    const slot = this.#slotOf(hash, writer, index);
    const found = this.#slots[slot]! - 1;
    const member = this.#memberCount;
    if (found >= 0 && this.#writers[this.#lasts[found]!] === writer) return false;
    this.#memberCount += 1;
    this.#writers[member] = writer;
    this.#indices[member] = index;
    if (found >= 0) {
      this.#nexts[this.#lasts[found]!] = member;
      this.#lasts[found] = member;
      return true;
    }
    const replica = this.#count++;
    this.#slots[slot] = replica + 1;
    this.#hashes[replica] = hash;
    this.#elements[replica] = this.#elementsOf(writer, index);
    this.#firsts[replica] = member;
    this.#lasts[replica] = member;
    return false;
  }

  /**
   * Returns for each writer which of its boxes it leaves to others: a 1 by the index of such a box. One member of each
   * replica sends it. The largest replicas are given away first, each to the member that has the least to send so far.
   * `sent` are the elements that each writer sends anyway. Yields between slices.
   */
  *leftOut(sent: readonly number[]): Generator<void, Uint8Array[]> {
    const load = [...sent];
    const left = this.#lists.map(({ count }) => new Uint8Array(count));
    let members = 0;
    for (const replica of yield* sortedFalling(this.#elements.subarray(0, this.#count))) {
      const first = this.#firsts[replica]!;
      let sender = first;
      for (let member = first, next = -1; next !== 0; member = next) {
        const writer = this.#writers[member]!;
        left[writer]![this.#indices[member]!] = 1;
        if (load[writer]! < load[this.#writers[sender]!]!) sender = member;
        members += 1;
        next = this.#nexts[member]!;
      }
      load[this.#writers[sender]!]! += this.#elements[replica]!;
      left[this.#writers[sender]!]![this.#indices[sender]!] = 0;
      if (members < SLICE_MEMBERS) continue;
      members = 0;
      yield;
    }
    return left;
  }

  /** Returns the slot of the replica that has this box, or the free slot where it would be. */
  #slotOf(hash: number, writer: number, index: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      this.work += 1;
      const replica = this.#slots[slot]! - 1;
      if (replica < 0) return slot;
      if (this.#hashes[replica] !== hash) continue;
      const member = this.#firsts[replica]!;
      if (this.#isSame(writer, index, this.#writers[member]!, this.#indices[member]!)) return slot;
    }
  }

  #hashOf(writer: number, index: number): number {
    const list = this.#lists[writer]!;
    const tensor = list.tensor[index]!;
    const shape = this.#tensors.shapeOf(tensor);
    let hash = mixed(mixed(0, tensor), list.replicaGroup[index]!);
    for (let dim = 0; dim < shape.length; dim++) {
      const [offset, extent] = [list.offsetOf(index, dim), list.extentOf(index, dim, shape)];
      hash = mixed(mixed(hash, offset), extent);
      if (shape[dim]! > 2 ** 32) hash = mixed(mixed(hash, offset / 2 ** 32), extent / 2 ** 32);
    }
    return hash;
  }

  #isSame(writer: number, index: number, otherWriter: number, otherIndex: number): boolean {
    const [list, other] = [this.#lists[writer]!, this.#lists[otherWriter]!];
    const tensor = list.tensor[index]!;
    if (tensor !== other.tensor[otherIndex] || list.replicaGroup[index] !== other.replicaGroup[otherIndex])
      return false;
    const shape = this.#tensors.shapeOf(tensor);
    for (let dim = 0; dim < shape.length; dim++) {
      if (list.offsetOf(index, dim) !== other.offsetOf(otherIndex, dim)) return false;
      if (list.extentOf(index, dim, shape) !== other.extentOf(otherIndex, dim, shape)) return false;
    }
    return true;
  }

  #elementsOf(writer: number, index: number): number {
    const list = this.#lists[writer]!;
    return list.elements(index, this.#tensors.shapeOf(list.tensor[index]!));
  }
}

function threeColumns(count: number): [Int32Array, Int32Array, Int32Array] {
  return [new Int32Array(count), new Int32Array(count), new Int32Array(count)];
}
