import {
  BOX_COUNT_MAX,
  PATTERN_COUNT_MAX,
  RANK_MAX,
  type ShadowkeepError,
  TENSOR_COUNT_MAX,
} from '../../common/index.js';
import { BoxList } from '../../engine/index.js';
import { readVarint32, readVarint64, valueAt, WIRE_TYPE } from '../../protocol/index.js';
import { integer, invalidField } from './fields.js';

/*
 * Decodes the boxes of an UpdateOpen and of a GetShadowRequest by hand. A thousand writers declare ten million boxes, and
 * a message object for each of them would cost a minute and gigabytes.
 *
 *   UpdateOpen         … 0x22 varint(length) Box … (boxes = 4, any number of them, anywhere)
 *   GetShadowRequest   … 0x42 varint(length) Box … (boxes = 8)
 *   Box          0x08 varint tensor = 1 | 0x12 packed varints offset = 2 | 0x1a packed varints extent = 3
 *                0x20 varint replica_group = 4; offset and extent may also come one by one (0x10, 0x18)
 */
const TENSOR_FIELD = 1;
const OFFSET_FIELD = 2;
const EXTENT_FIELD = 3;
const GROUP_FIELD = 4;

/** A varint with this bit in its first byte has more than one byte. */
const LONG = 0x80;

/** Bytes of boxes that are decoded between two yields: under a millisecond of work. */
const SLICE_BYTES = 1 << 15;

/** Most fields in one box: its four, of which offsets and extents may come one by one, and some unknown ones. */
const BOX_FIELD_COUNT_MAX = 4 * RANK_MAX;

/** The repeated field of a message that holds its boxes. */
export interface BoxesField {
  readonly tag: number;
  /** The name of the field in error messages. */
  readonly name: string;
  readonly countMax: number;
  /** Most fields that the message may have beside its boxes. */
  readonly otherCountMax: number;
}

/** The boxes of an UpdateOpen, which has six other fields; the bound leaves room for unknown ones. */
export const OPEN_BOXES: BoxesField = { tag: 0x22, name: 'open.boxes', countMax: BOX_COUNT_MAX, otherCountMax: 1_024 };

/** The boxes of a GetShadowRequest, which also has up to PATTERN_COUNT_MAX names and a few other fields. */
export const READ_BOXES: BoxesField = {
  tag: 0x42,
  name: 'boxes',
  countMax: TENSOR_COUNT_MAX,
  otherCountMax: PATTERN_COUNT_MAX + 1_024,
};

const UINT32_MAX = 2 ** 32 - 1;

/** The bytes of a message without its boxes, and the boxes; undefined when there are none. */
interface Taken {
  readonly rest: Uint8Array;
  readonly boxes: BoxList | undefined;
}

/**
 * Takes the boxes out of the bytes of a message. Yields between slices. Throws RangeError for bytes that are no
 * message, and INVALID_FIELD.
 */
export function* takeBoxes(bytes: Uint8Array, field: BoxesField): Generator<void, Taken> {
  const rest: Uint8Array[] = [];
  let count = 0;
  yield* forEachField(bytes, field.tag, (isBox, start, end) => {
    if (isBox) count += 1;
    else if (rest.push(bytes.subarray(start, end)) > field.otherCountMax) {
      throw invalidField('message', `has more than ${field.otherCountMax} fields beside ${field.name}`);
    }
  });
  if (count === 0) return { rest: bytes, boxes: undefined };
  integer(`${field.name} length`, count, 0, field.countMax);
  const columns = new Columns(bytes, count, field.name);
  yield* forEachField(bytes, field.tag, (isBox, start, end) => {
    if (isBox) columns.add(start, end);
  });
  return { rest: Buffer.concat(rest), boxes: columns.list };
}

/** Visits the bytes of each box without its tag, and of each other field with its tag. Yields between slices. */
function* forEachField(
  bytes: Uint8Array,
  boxesTag: number,
  visit: (isBox: boolean, start: number, end: number) => void,
): Generator<void> {
  let until = SLICE_BYTES;
  for (let at = 0; at < bytes.length; ) {
    if (at >= until) {
      yield;
      until = at + SLICE_BYTES;
    }
    // Nearly all boxes are short. This path makes no object for the place of a short one.
    const length = bytes[at] === boxesTag ? (bytes[at + 1] ?? LONG) : LONG;
    if (length < LONG && at + 2 + length <= bytes.length) {
      at += 2 + length;
      visit(true, at - length, at);
      continue;
    }
    const tag = readVarint32(bytes, at);
    const value = valueAt(bytes, tag.end, tag.value & 7);
    if (tag.value === boxesTag) visit(true, value.start, value.end);
    else visit(false, at, value.end);
    at = value.end;
  }
}

/** Reads boxes into columns. It makes no object for a number or a field, of which there may be a hundred million. */
class Columns {
  readonly #bytes: Uint8Array;
  readonly #name: string;
  /** The index of the byte that is read next. */
  #at = 0;
  #count = 0;
  readonly #tensor: Uint32Array;
  readonly #group: Uint32Array;
  readonly #first: Uint32Array;
  /** Offsets and extents of all boxes. It begins with room for matrices, as most tensors are, and grows. */
  #dims: Float64Array<ArrayBuffer>;
  #dimCount = 0;
  #dimMax = 0;
  /** The extents of the present box so far. They are kept apart because a box's fields may come in any order. */
  readonly #extent = new Float64Array(RANK_MAX);
  #extentCount = 0;

  constructor(bytes: Uint8Array, count: number, name: string) {
    this.#bytes = bytes;
    this.#name = name;
    this.#tensor = new Uint32Array(count);
    this.#group = new Uint32Array(count);
    this.#first = new Uint32Array(count + 1);
    this.#dims = new Float64Array(4 * count);
  }

  get list(): BoxList {
    const dims = this.#dims.subarray(0, this.#dimCount);
    const exact = this.#dimMax <= UINT32_MAX ? new Uint32Array(dims) : dims.slice();
    return new BoxList(this.#tensor, this.#group, this.#first, exact);
  }

  /** Adds the box whose bytes are from `start` to `end`. */
  add(start: number, end: number): void {
    const begin = this.#dimCount;
    this.#extentCount = 0;
    let tensor = 0;
    let group = 0;
    let fields = 0;
    for (this.#at = start; this.#at < end; ) {
      if (++fields > BOX_FIELD_COUNT_MAX)
        throw invalidField(this.#field, `has more than ${BOX_FIELD_COUNT_MAX} fields`);
      const tag = this.#readNumber('tag');
      const number = tag >>> 3;
      if (number === OFFSET_FIELD) this.#readDims('offset', tag & 7);
      else if (number === EXTENT_FIELD) this.#readDims('extent', tag & 7);
      else if (tag === TENSOR_FIELD << 3) tensor = this.#readNumber('tensor');
      else if (tag === GROUP_FIELD << 3) group = this.#readNumber('replica_group');
      else this.#at = valueAt(this.#bytes, this.#at, tag & 7).end;
    }
    if (this.#at > end) throw new RangeError(`a field ends at byte ${this.#at}, its box at byte ${end}`);
    const rank = this.#dimCount - begin;
    if (this.#extentCount !== rank) integer(`${this.#field}.extent length`, this.#extentCount, rank, rank);
    for (let dim = 0; dim < rank; dim++) this.#pushDim(this.#extent[dim]!);
    this.#tensor[this.#count] = tensor;
    this.#group[this.#count] = group;
    this.#count += 1;
    this.#first[this.#count] = this.#dimCount;
  }

  get #field(): string {
    return `${this.#name}[${this.#count}]`;
  }

  /** Reads a field of offsets or extents: one number, or several packed. */
  #readDims(field: 'offset' | 'extent', wireType: number): void {
    const end = wireType === WIRE_TYPE.varint ? this.#at + 1 : this.#readNumber('length') + this.#at;
    if (end > this.#bytes.length)
      throw new RangeError(`a field ends at byte ${end}, the message has ${this.#bytes.length}`);
    const bytes = this.#bytes;
    for (let at = this.#at; at < end; at = this.#at) {
      // Nearly all numbers have one byte or two.
      const first = bytes[at]!;
      const second = bytes[at + 1]!;
      let value = first;
      if (first < LONG) this.#at = at + 1;
      else if (second < LONG) {
        value = (first & 0x7f) | (second << 7);
        this.#at = at + 2;
      } else value = this.#readLongNumber(field);
      if (value > this.#dimMax) this.#dimMax = value;
      if (field === 'extent') this.#pushExtent(value);
      else if (this.#dimCount - this.#first[this.#count]! < RANK_MAX) this.#pushDim(value);
      else throw this.#rankError(field);
    }
  }

  #pushDim(value: number): void {
    if (this.#dimCount === this.#dims.length) this.#dims = grown(this.#dims);
    this.#dims[this.#dimCount++] = value;
  }

  #pushExtent(value: number): void {
    if (this.#extentCount === RANK_MAX) throw this.#rankError('extent');
    this.#extent[this.#extentCount++] = value;
  }

  #rankError(field: string): ShadowkeepError {
    return invalidField(`${this.#field}.${field}`, `has more than ${RANK_MAX} numbers, the largest rank`);
  }

  /**
   * Reads a varint of up to 64 bits. Throws INVALID_FIELD for one over 2^53 − 1, which a number does not hold exactly.
   */
  #readNumber(field: string): number {
    const byte = this.#bytes[this.#at]!;
    if (byte >= 0x80 || this.#at >= this.#bytes.length) return this.#readLongNumber(field);
    this.#at += 1;
    return byte;
  }

  #readLongNumber(field: string): number {
    const { value, end } = readVarint64(this.#bytes, this.#at);
    this.#at = end;
    if (value > Number.MAX_SAFE_INTEGER) integer(`${this.#field}.${field}`, value, 0, Number.MAX_SAFE_INTEGER);
    return value;
  }
}

function grown(numbers: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const more = new Float64Array(2 * numbers.length);
  more.set(numbers);
  return more;
}
