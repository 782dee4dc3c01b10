import { BOX_COUNT_MAX } from '../common/index.js';
import { BoxList } from '../engine/index.js';
import { integer } from './fields.js';
import { readVarint32, readVarint64, valueAt, WIRE_TYPE } from './protobuf-fields.js';

/*
 * The boxes of an UpdateOpen, taken out of its bytes by hand: a thousand writers declare ten million of them, and a
 * message object for each costs a minute and gigabytes.
 *
 *   UpdateOpen   … 0x22 varint(length) Box … (boxes = 4, any number of them, anywhere)
 *   Box          0x08 varint tensor = 1 | 0x12 packed varints offset = 2 | 0x1a packed varints extent = 3
 *                0x20 varint replica_group = 4; offset and extent may also come one by one (0x10, 0x18)
 */
const BOXES_FIELD = 4;
const TENSOR_FIELD = 1;
const OFFSET_FIELD = 2;
const EXTENT_FIELD = 3;
const GROUP_FIELD = 4;

const UINT32_MAX = 2 ** 32 - 1;

/** An UpdateOpen without its boxes, and these; undefined: it has none. Throws RangeError for bytes that are no message. */
export function takeBoxes(open: Uint8Array): { readonly rest: Uint8Array; readonly boxes: BoxList | undefined } {
  const rest: Uint8Array[] = [];
  const columns = new Columns();
  for (let at = 0; at < open.length; ) {
    const tag = readVarint32(open, at);
    const value = valueAt(open, tag.end, tag.value & 7);
    if (tag.value >>> 3 === BOXES_FIELD && (tag.value & 7) === WIRE_TYPE.lengthDelimited) {
      columns.add(open, value.start, value.end);
    } else {
      rest.push(open.subarray(at, value.end));
    }
    at = value.end;
  }
  return { rest: columns.count === 0 ? open : Buffer.concat(rest), boxes: columns.list };
}

class Columns {
  readonly #tensor: number[] = [];
  readonly #group: number[] = [];
  readonly #first: number[] = [0];
  readonly #dims: number[] = [];
  #dimMax = 0;

  get count(): number {
    return this.#tensor.length;
  }

  get list(): BoxList | undefined {
    if (this.count === 0) return undefined;
    const dims = this.#dimMax <= UINT32_MAX ? Uint32Array.from(this.#dims) : Float64Array.from(this.#dims);
    return new BoxList(
      Uint32Array.from(this.#tensor),
      Uint32Array.from(this.#group),
      Uint32Array.from(this.#first),
      dims,
    );
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    integer('open.boxes length', this.count + 1, 0, BOX_COUNT_MAX);
    const field = `open.boxes[${this.count}]`;
    let tensor = 0;
    let group = 0;
    const offset: number[] = [];
    const extent: number[] = [];
    for (let at = start; at < end; ) {
      const tag = readVarint32(bytes, at);
      const value = valueAt(bytes, tag.end, tag.value & 7);
      if (value.end > end) throw new RangeError(`a field ends at byte ${value.end}, its box at byte ${end}`);
      const number = tag.value >>> 3;
      if (number === TENSOR_FIELD) tensor = readVarint32(bytes, value.start).value;
      else if (number === GROUP_FIELD) group = readVarint32(bytes, value.start).value;
      else if (number === OFFSET_FIELD) this.#readNumbers(`${field}.offset`, bytes, value, offset);
      else if (number === EXTENT_FIELD) this.#readNumbers(`${field}.extent`, bytes, value, extent);
      at = value.end;
    }
    integer(`${field}.extent length`, extent.length, offset.length, offset.length);
    this.#tensor.push(tensor);
    this.#group.push(group);
    this.#dims.push(...offset, ...extent);
    this.#first.push(this.#dims.length);
  }

  #readNumbers(field: string, bytes: Uint8Array, value: { start: number; end: number }, into: number[]): void {
    for (let at = value.start; at < value.end; ) {
      const number = readVarint64(bytes, at);
      const checked = integer(field, number.value, 0, Number.MAX_SAFE_INTEGER);
      if (checked > this.#dimMax) this.#dimMax = checked;
      into.push(checked);
      at = number.end;
    }
  }
}
