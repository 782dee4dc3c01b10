import { BOX_COUNT_MAX, RANK_MAX } from '../common/index.js';
import { BoxList } from '../engine/index.js';
import { integer, invalidField } from './fields.js';
import { readVarint32, readVarint64, valueAt, WIRE_TYPE } from './protobuf-fields.js';

/*
 * The boxes of an UpdateOpen, taken out of its bytes by hand: a thousand writers declare ten million of them, and a
 * message object for each costs a minute and gigabytes.
 *
 *   UpdateOpen   … 0x22 varint(length) Box … (boxes = 4, any number of them, anywhere)
 *   Box          0x08 varint tensor = 1 | 0x12 packed varints offset = 2 | 0x1a packed varints extent = 3
 *                0x20 varint replica_group = 4; offset and extent may also come one by one (0x10, 0x18)
 */
const BOXES_TAG = 0x22;
const TENSOR_FIELD = 1;
const OFFSET_FIELD = 2;
const EXTENT_FIELD = 3;
const GROUP_FIELD = 4;

/** From here on a length has more than one byte. */
const LONG = 0x80;

/** Fields beside the boxes: there are six. */
const FIELD_COUNT_MAX = 1_024;

const UINT32_MAX = 2 ** 32 - 1;

/** An UpdateOpen without its boxes, and these; undefined: it has none. Throws RangeError for bytes that are no message. */
export function takeBoxes(open: Uint8Array): { readonly rest: Uint8Array; readonly boxes: BoxList | undefined } {
  const rest: Uint8Array[] = [];
  let count = 0;
  forEachField(open, (isBox, start, end) => {
    if (isBox) count += 1;
    else if (rest.push(open.subarray(start, end)) > FIELD_COUNT_MAX) {
      throw invalidField('open', `has more than ${FIELD_COUNT_MAX} fields beside its boxes`);
    }
  });
  if (count === 0) return { rest: open, boxes: undefined };
  integer('open.boxes length', count, 0, BOX_COUNT_MAX);
  const columns = new Columns(open, count);
  forEachField(open, (isBox, start, end) => {
    if (isBox) columns.add(start, end);
  });
  return { rest: Buffer.concat(rest), boxes: columns.list };
}

/** Visits the inside of each box, and each other field with its tag. */
function forEachField(open: Uint8Array, visit: (isBox: boolean, start: number, end: number) => void): void {
  for (let at = 0; at < open.length; ) {
    // A short box, as nearly all are: without an object for its place.
    const length = open[at] === BOXES_TAG ? (open[at + 1] ?? LONG) : LONG;
    if (length < LONG && at + 2 + length <= open.length) {
      at += 2 + length;
      visit(true, at - length, at);
      continue;
    }
    const tag = readVarint32(open, at);
    const value = valueAt(open, tag.end, tag.value & 7);
    if (tag.value === BOXES_TAG) visit(true, value.start, value.end);
    else visit(false, at, value.end);
    at = value.end;
  }
}

/** Reads boxes into columns. There is no object for a number or a field: of these there are a hundred million. */
class Columns {
  readonly #bytes: Uint8Array;
  /** Where the next number is read. */
  #at = 0;
  #count = 0;
  readonly #tensor: Uint32Array;
  readonly #group: Uint32Array;
  readonly #first: Uint32Array;
  /** Grows: most tensors are matrices. */
  #dims: Float64Array<ArrayBuffer>;
  #dimCount = 0;
  #dimMax = 0;
  /** Of the box at hand, which may have its fields in any order. */
  #extent = new Float64Array(RANK_MAX);
  #extentCount = 0;

  constructor(bytes: Uint8Array, count: number) {
    this.#bytes = bytes;
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

  /** Adds the box between two places. */
  add(start: number, end: number): void {
    const begin = this.#dimCount;
    this.#extentCount = 0;
    let tensor = 0;
    let group = 0;
    for (this.#at = start; this.#at < end; ) {
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
    return `open.boxes[${this.#count}]`;
  }

  /** One number, or several packed. */
  #readDims(field: 'offset' | 'extent', wireType: number): void {
    const end = wireType === WIRE_TYPE.varint ? this.#at + 1 : this.#readNumber('length') + this.#at;
    if (end > this.#bytes.length)
      throw new RangeError(`a field ends at byte ${end}, the message has ${this.#bytes.length}`);
    const bytes = this.#bytes;
    for (let at = this.#at; at < end; at = this.#at) {
      // Nearly all have one byte or two.
      const first = bytes[at]!;
      const second = bytes[at + 1]!;
      let value = first;
      if (first < LONG) this.#at = at + 1;
      else if (second < LONG) {
        value = (first & 0x7f) | (second << 7);
        this.#at = at + 2;
      } else value = this.#readLongNumber(field);
      if (value > this.#dimMax) this.#dimMax = value;
      if (field === 'offset') this.#pushDim(value);
      else this.#pushExtent(value);
    }
  }

  #pushDim(value: number): void {
    if (this.#dimCount === this.#dims.length) this.#dims = grown(this.#dims);
    this.#dims[this.#dimCount++] = value;
  }

  #pushExtent(value: number): void {
    if (this.#extentCount === this.#extent.length) this.#extent = grown(this.#extent);
    this.#extent[this.#extentCount++] = value;
  }

  /** A varint of up to 64 bits. Throws INVALID_FIELD for one that is no exact number. */
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
