import { LAYOUT_BYTES_MAX, RANK_MAX, ShadowkeepError, TENSOR_COUNT_MAX } from '../../common/index.js';
import { textHeapBytes } from '../../engine/index.js';
import {
  type OpenRunRequest__Output,
  packageDefinition,
  readInt32,
  readVarint32,
  readVarint64,
  shadowWeightsDefinition,
  type Tensor__Output,
  valueAt,
  WIRE_TYPE,
} from '../../protocol/index.js';
import { checkEntries, messageError, OPEN_RUN_BOUNDS } from './decode-request.js';
import { integer, invalidField } from './fields.js';

/*
 * Decodes an OpenRunRequest by hand, in slices. The generated decoder takes a layout of tens of thousands of tensors in one
 * go, and nobody else is served meanwhile.
 *
 *   OpenRunRequest   … 0x12 varint(length) Tensor … (tensors = 2, any number of them, anywhere; the rest is decoded at once)
 *   Tensor           0x0a varint(length) name = 1 | 0x10 varint dtype = 2 | 0x1a packed varints shape = 3 (or 0x18, one by one)
 *                    0x20 varint policy = 4
 */
const TENSORS_TAG = 0x12;
const NAME_TAG = 0x0a;
const DTYPE_TAG = 0x10;
const SHAPE_FIELD = 3;
const POLICY_TAG = 0x20;

/** Fields that are decoded between two yields: under a millisecond of work. */
const SLICE_FIELDS = 512;

/** Most fields in one tensor: its four, of which the shape's extents may come one by one, and some unknown ones. */
const TENSOR_FIELD_COUNT_MAX = 2 * RANK_MAX;

/** Most fields of a request beside its tensors. Its repeated fields have bounds of their own. */
const OTHER_FIELD_COUNT_MAX = 8_192;

/** Most bytes of a request beside its tensors: averages and policies with their patterns take most of them. */
const OTHER_BYTES_MAX = 4 << 20;

/**
 * Most bytes of heap that a byte of averages and policies becomes. The worst are patterns of one character, each a
 * string in two lists.
 */
const REST_HEAP_FACTOR = 24;

/** A tensor of a request beside its name and its extents: decoded, checked, and in a set of names. Measured: 360. */
const TENSOR_HEAP_BYTES = 400;

/** One extent of a shape, in a list that has grown by half ahead. */
const EXTENT_HEAP_BYTES = 12;

type DTypeName = Tensor__Output['dtype'];
type PolicyName = Tensor__Output['policy'];

const DTYPE_NAMES = enumNames<DTypeName>('Dtype');
const POLICY_NAMES = enumNames<PolicyName>('Policy');

/**
 * Decodes a request that came in one message or in several. Yields between slices. Throws what is wrong with the bytes.
 * `reserve` is told after each slice how many bytes of heap the slice has made, and throws when there are not so many.
 */
export function* decodeOpenRun(
  parts: readonly Buffer[],
  reserve: (bytes: number) => void = () => undefined,
): Generator<void, OpenRunRequest__Output> {
  const reader = new OpenRunReader(reserve);
  for (const part of parts) yield* reader.add(part);
  return reader.end();
}

class OpenRunReader {
  readonly #tensors: Tensor__Output[] = [];
  readonly #rest: Uint8Array[] = [];
  #restBytes = 0;
  #layoutBytes = 0;
  #partCount = 0;
  readonly #reserve: (bytes: number) => void;
  #unreservedBytes = 0;

  constructor(reserve: (bytes: number) => void) {
    this.#reserve = reserve;
  }

  /** Decodes the next message of the request. Yields between slices. */
  *add(bytes: Buffer): Generator<void> {
    let fields = 0;
    for (let at = 0; at < bytes.length; ) {
      at = this.#takeField(bytes, at);
      if (++fields % SLICE_FIELDS !== 0) continue;
      this.#reserve(this.#unreservedBytes);
      this.#unreservedBytes = 0;
      yield;
    }
    this.#partCount += 1;
  }

  /** The request, when all its messages have been taken. */
  end(): OpenRunRequest__Output {
    const rest = Buffer.concat(this.#rest);
    this.#reserve(this.#unreservedBytes + REST_HEAP_FACTOR * rest.length);
    return this.#reading(() => {
      checkEntries(rest, OPEN_RUN_BOUNDS);
      return { ...shadowWeightsDefinition.OpenRun.requestDeserialize(rest), tensors: this.#tensors };
    });
  }

  /** Takes the field that begins at `at`. Returns where the field ends. */
  #takeField(bytes: Buffer, at: number): number {
    return this.#reading(() => {
      const tag = readVarint32(bytes, at);
      const value = valueAt(bytes, tag.end, tag.value & 7);
      if (tag.value === TENSORS_TAG) this.#takeTensor(bytes, value.start, value.end);
      else this.#takeOther(bytes.subarray(at, value.end));
      return value.end;
    });
  }

  #takeTensor(bytes: Buffer, start: number, end: number): void {
    const index = this.#tensors.length;
    if (index === TENSOR_COUNT_MAX) {
      throw invalidField('tensors', `has more than ${TENSOR_COUNT_MAX} entries`, 'TOO_MANY_TENSORS');
    }
    this.#layoutBytes += end - start;
    checkLayoutBytes(this.#layoutBytes);
    const tensor = decodeTensor(bytes, start, end, `tensors[${index}]`);
    this.#unreservedBytes += TENSOR_HEAP_BYTES + tensor.shape.length * EXTENT_HEAP_BYTES + textHeapBytes(tensor.name);
    this.#tensors.push(tensor);
  }

  #takeOther(field: Uint8Array): void {
    if (this.#partCount > 0) {
      throw invalidField(`message ${this.#partCount}`, 'of a request in parts has another field than tensors');
    }
    this.#rest.push(field);
    this.#restBytes += field.length;
    integer('fields beside tensors', this.#rest.length, 0, OTHER_FIELD_COUNT_MAX);
    integer('bytes beside tensors', this.#restBytes, 0, OTHER_BYTES_MAX);
  }

  /** Runs `read`, and turns an error of reading bytes into INVALID_FIELD. */
  #reading<Result>(read: () => Result): Result {
    try {
      return read();
    } catch (error) {
      throw error instanceof ShadowkeepError ? error : messageError('OpenRunRequest', error);
    }
  }
}

/** Throws TOO_MANY_TENSORS when the encoded tensors of a run have more than LAYOUT_BYTES_MAX bytes. */
export function checkLayoutBytes(bytes: number): void {
  if (bytes <= LAYOUT_BYTES_MAX) return;
  throw invalidField(
    'tensors',
    `have more than ${LAYOUT_BYTES_MAX} bytes together: names, shapes and all`,
    'TOO_MANY_TENSORS',
  );
}

function decodeTensor(bytes: Buffer, start: number, end: number, field: string): Tensor__Output {
  const tensor: Tensor__Output = {
    name: '',
    dtype: nameIn(DTYPE_NAMES, 0),
    shape: [],
    policy: nameIn(POLICY_NAMES, 0),
  };
  let fields = 0;
  for (let at = start; at < end; ) {
    if (++fields > TENSOR_FIELD_COUNT_MAX) {
      throw invalidField(field, `has more than ${TENSOR_FIELD_COUNT_MAX} fields`, 'INVALID_TENSOR');
    }
    const tag = readVarint32(bytes, at);
    const value = valueAt(bytes, tag.end, tag.value & 7);
    if (value.end > end) throw new RangeError(`a field ends at byte ${value.end}, its tensor at byte ${end}`);
    if (tag.value === NAME_TAG) tensor.name = bytes.toString('utf8', value.start, value.end);
    else if (tag.value === DTYPE_TAG) tensor.dtype = nameIn(DTYPE_NAMES, readInt32(bytes, value.start));
    else if (tag.value === POLICY_TAG) tensor.policy = nameIn(POLICY_NAMES, readInt32(bytes, value.start));
    else if (tag.value >>> 3 === SHAPE_FIELD) readShape(tensor.shape, bytes, tag.value & 7, value, field);
    at = value.end;
  }
  return tensor;
}

/** Reads a field of a shape: one extent, or several packed. */
function readShape(
  shape: number[],
  bytes: Buffer,
  wireType: number,
  { start, end }: { start: number; end: number },
  field: string,
): void {
  if (wireType !== WIRE_TYPE.varint && wireType !== WIRE_TYPE.lengthDelimited) return;
  for (let at = start; at < end; ) {
    if (shape.length === RANK_MAX) {
      throw invalidField(field, `has a rank over ${RANK_MAX}, which is the largest`, 'INVALID_TENSOR');
    }
    const extent = readVarint64(bytes, at);
    if (extent.end > end) throw new RangeError(`an extent ends at byte ${extent.end}, its shape at byte ${end}`);
    shape.push(extent.value);
    at = extent.end;
  }
}

/** The name of an enum's value, or the number itself when this proto has no such value. */
function nameIn<Name>(names: ReadonlyMap<number, Name>, value: number): Name {
  // The generated decoder does the same, although its types do not say so: it leaves a value without a name as a
  // number.
  return names.get(value) ?? (value as unknown as Name);
}

function enumNames<Name>(name: string): ReadonlyMap<number, Name> {
  const { type } = packageDefinition[`shadowkeep.v1.${name}`] as unknown as {
    type: { value: readonly { name: Name; number: number }[] };
  };
  return new Map(type.value.map((value) => [value.number, value.name]));
}
