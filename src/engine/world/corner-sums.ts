import { mixed } from './mixed.js';

/** Slots of the first table: a power of two, as all are. */
const SLOT_COUNT_MIN = 1 << 12;

/** Bytes of a slot: a corner and its sum. */
const SLOT_BYTES = Float64Array.BYTES_PER_ELEMENT + Int32Array.BYTES_PER_ELEMENT;

/** Slots that are looked at between two yields: under a millisecond. */
const SLICE_SLOTS = 1 << 14;

/**
 * A whole number for each of many corners, 0 for all others: an open-addressing table in columns, because a Map of
 * millions takes a second to grow. It is at most half full; what has come back to 0 keeps its slot until the table is
 * made anew.
 */
export class CornerSums {
  readonly #reserve: (bytes: number) => void;
  /** One more than the corner, so that 0 is a slot without one. */
  #corners = new Float64Array(SLOT_COUNT_MIN);
  #sums = new Int32Array(SLOT_COUNT_MIN);
  #takenCount = 0;
  #size = 0;
  /** Slots that have been looked at for sums so far. */
  work = 0;

  /** `reserve` is told how many bytes it takes more; it throws when there are not so many. */
  constructor(reserve: (bytes: number) => void) {
    this.#reserve = reserve;
  }

  /** Number of sums that are not 0. */
  get size(): number {
    return this.#size;
  }

  hasRoom(count: number): boolean {
    return 2 * (this.#takenCount + count) <= this.#corners.length;
  }

  /** Makes room for `count` more. Yields between slices; throws what `reserve` throws. */
  *makeRoom(count: number): Generator<void> {
    const [corners, sums] = [this.#corners, this.#sums];
    let slotCount = SLOT_COUNT_MIN;
    while (slotCount < 4 * (this.#size + count)) slotCount *= 2;
    // The old table and the new one are both there while the new one is filled.
    this.#reserve(slotCount * SLOT_BYTES);
    this.#corners = new Float64Array(slotCount);
    this.#sums = new Int32Array(slotCount);
    this.#takenCount = 0;
    this.#size = 0;
    for (let slot = 0; slot < sums.length; slot++) {
      if (sums[slot] !== 0) this.add(corners[slot]! - 1, sums[slot]!);
      if (slot % SLICE_SLOTS === SLICE_SLOTS - 1) yield;
    }
    this.#reserve(-sums.length * SLOT_BYTES);
  }

  /** Adds to the number of a corner: there must be room. */
  add(corner: number, by: number): void {
    const slot = this.#slotOf(corner + 1);
    if (this.#corners[slot] === 0) {
      this.#corners[slot] = corner + 1;
      this.#takenCount += 1;
    }
    const before = this.#sums[slot]!;
    this.#sums[slot] = before + by;
    if (before === 0) this.#size += 1;
    else if (before + by === 0) this.#size -= 1;
  }

  /** The smallest corner whose number is not 0, and that number; none: infinity. Yields between slices. */
  *first(): Generator<void, { readonly corner: number; readonly sum: number }> {
    let first = { corner: Number.POSITIVE_INFINITY, sum: 0 };
    for (let slot = 0; slot < this.#sums.length; slot++) {
      const sum = this.#sums[slot]!;
      const corner = this.#corners[slot]! - 1;
      if (sum !== 0 && corner < first.corner) first = { corner, sum };
      if (slot % SLICE_SLOTS === SLICE_SLOTS - 1) yield;
    }
    return first;
  }

  /** The slot of a key, or the free slot where the key would be. */
  #slotOf(key: number): number {
    const mask = this.#corners.length - 1;
    let slot = mixed(mixed(0, key), Math.floor(key / 2 ** 32)) & mask;
    for (;;) {
      this.work += 1;
      const found = this.#corners[slot]!;
      if (found === key || found === 0) return slot;
      slot = (slot + 1) & mask;
    }
  }
}
