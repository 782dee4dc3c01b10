import { DTYPE_BYTES, FLOAT_DTYPES, type FloatDType } from '../../common/index.js';

/** A contiguous piece of a byte space and of a flat space. */
export interface Segment {
  readonly stepOffset: number;
  readonly flat: number;
  /** Elements of the averaged space, or bytes of the copied one. */
  readonly count: number;
  /** The elements' dtype on the wire, or undefined for copied bytes. */
  readonly dtype: FloatDType | undefined;
  /** Averages that fold it, a bit for each by its index in the run. */
  readonly averages: number;
}

/** The entry of `#dtype` for copied bytes. */
const COPIED = FLOAT_DTYPES.length;

/** Most runs have one segment; a list doubles when it is full. */
const FIRST_CAPACITY = 16;

/** Bytes of the columns for each segment. */
export const SEGMENT_COLUMN_BYTES = 8 + 8 + 8 + 1 + 4;

/**
 * Segments in the order of a byte space, in columns: where each tensor is a segment, a run keeps as many as it has
 * tensors.
 */
export class Segments {
  #stepOffset = new Float64Array(FIRST_CAPACITY);
  #flat = new Float64Array(FIRST_CAPACITY);
  #count = new Float64Array(FIRST_CAPACITY);
  #dtype = new Uint8Array(FIRST_CAPACITY);
  #averages = new Int32Array(FIRST_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  stepOffsetAt(index: number): number {
    return this.#stepOffset[index]!;
  }

  /** A segment as an object, made anew at each call. */
  at(index: number): Segment {
    return {
      stepOffset: this.#stepOffset[index]!,
      flat: this.#flat[index]!,
      count: this.#count[index]!,
      dtype: FLOAT_DTYPES[this.#dtype[index]!],
      averages: this.#averages[index]!,
    };
  }

  *[Symbol.iterator](): Generator<Segment> {
    for (let index = 0; index < this.#length; index++) yield this.at(index);
  }

  /**
   * Appends, or lengthens the last segment (over the gap between them too) when both spaces advance by the same count.
   */
  append(next: Segment): void {
    const last = this.#length - 1;
    const dtype = next.dtype === undefined ? COPIED : FLOAT_DTYPES.indexOf(next.dtype);
    if (last >= 0 && this.#dtype[last] === dtype && this.#averages[last] === next.averages) {
      const size = next.dtype === undefined ? 1 : DTYPE_BYTES[next.dtype];
      const advance = next.flat - this.#flat[last]!;
      if (advance >= this.#count[last]! && next.stepOffset - this.#stepOffset[last]! === advance * size) {
        this.#count[last] = advance + next.count;
        return;
      }
    }
    if (this.#length === this.#stepOffset.length) this.#grow();
    this.#stepOffset[this.#length] = next.stepOffset;
    this.#flat[this.#length] = next.flat;
    this.#count[this.#length] = next.count;
    this.#dtype[this.#length] = dtype;
    this.#averages[this.#length] = next.averages;
    this.#length += 1;
  }

  #grow(): void {
    const capacity = 2 * this.#length;
    this.#stepOffset = grown(this.#stepOffset, new Float64Array(capacity));
    this.#flat = grown(this.#flat, new Float64Array(capacity));
    this.#count = grown(this.#count, new Float64Array(capacity));
    this.#dtype = grown(this.#dtype, new Uint8Array(capacity));
    this.#averages = grown(this.#averages, new Int32Array(capacity));
  }
}

function grown<Column extends Float64Array | Int32Array | Uint8Array>(from: Column, to: Column): Column {
  to.set(from);
  return to;
}
