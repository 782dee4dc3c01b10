import type { MessageTypeDefinition } from '@grpc/proto-loader';
import {
  AVERAGE_COUNT_MAX,
  type ErrorReason,
  PATTERN_COUNT_MAX,
  REQUEST_BYTES_MAX,
  ShadowkeepError,
  TENSOR_COUNT_MAX,
  toEnd,
} from '../../common/index.js';
import { readVarint32, shadowWeightsDefinition, valueAt, varintBytes, writeVarint } from '../../protocol/index.js';
import { OPEN_BOXES, READ_BOXES, takeBoxes } from './box-columns.js';
import { integer, invalidField } from './fields.js';
import type { DecodedUpdate } from './validate-update.js';

/** How often a field may come in a message, and the bounds of the fields inside of it. */
interface EntryBound {
  readonly field: string;
  readonly countMax: number;
  readonly reason?: ErrorReason;
  readonly inside?: EntryBounds;
}
/** The bounds of a message's fields, by field number. */
type EntryBounds = Readonly<Record<number, EntryBound>>;

/** The bound of a field that does not repeat and is listed for the fields inside of it. */
const ONCE = Number.POSITIVE_INFINITY;

const AVERAGE_BOUNDS: EntryBounds = {
  8: { field: 'average.include', countMax: PATTERN_COUNT_MAX, reason: 'INVALID_AVERAGE' },
  9: { field: 'average.exclude', countMax: PATTERN_COUNT_MAX, reason: 'INVALID_AVERAGE' },
};

/**
 * The bounds of repeated fields, by the name of the request. An entry costs its sender two bytes and the server an
 * object with every default in it, a hundred times as much, so a request with too many entries is refused before it is
 * decoded.
 */
const ENTRY_BOUNDS: Readonly<Partial<Record<string, EntryBounds>>> = {
  // protobuf merges two `open` fields into one message, but boxes are taken out of one `open` only.
  UpdateRequest: { 1: { field: 'open', countMax: 1 } },
  AddAverageRequest: { 2: { field: 'average', countMax: ONCE, inside: AVERAGE_BOUNDS } },
  GetShadowRequest: {
    7: { field: 'names', countMax: PATTERN_COUNT_MAX },
    8: { field: 'boxes', countMax: TENSOR_COUNT_MAX },
  },
};

/** The bounds of an OpenRunRequest's fields beside its tensors. */
export const OPEN_RUN_BOUNDS: EntryBounds = {
  3: { field: 'averages', countMax: AVERAGE_COUNT_MAX, reason: 'INVALID_AVERAGE', inside: AVERAGE_BOUNDS },
  8: { field: 'policies', countMax: PATTERN_COUNT_MAX },
};

/** Most fields of an UpdateRequest. It has a few; the bound is for unknown fields, each of which takes time to skip. */
const UPDATE_FIELD_COUNT_MAX = 1_024;

/** The tag of UpdateRequest.open. */
const OPEN_TAG = 0x0a;

/** The part of a method's definition that its decoder needs. */
interface Method<Request> {
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly requestType: MessageTypeDefinition<object, object>;
}

/**
 * Makes the decoder of a method's requests. The decoder returns an error instead of throwing it, because gRPC answers
 * an error thrown by a decoder with INTERNAL, which says that the server has a bug. For an Update message that has an
 * opening it returns OpeningBytes.
 */
export function requestDecoder<Request>(method: Method<Request>): (bytes: Buffer) => Request | ShadowkeepError {
  const { name } = method.requestType.type as { name: string };
  const bounds = ENTRY_BOUNDS[name] ?? {};
  return (bytes) => {
    try {
      if (name === 'UpdateRequest') {
        checkEntries(bytes, bounds, UPDATE_FIELD_COUNT_MAX);
        const opening = openingIn(bytes);
        return (opening ?? method.requestDeserialize(bytes)) as Request;
      }
      integer(`bytes of ${name}`, bytes.length, 0, REQUEST_BYTES_MAX);
      // Requests without bounds are checked too: protobufjs reads a string that ends past its message as a shorter
      // string.
      checkEntries(bytes, bounds);
      if (name === 'GetShadowRequest') return decodeRead(method, bytes);
      return method.requestDeserialize(bytes);
    } catch (error) {
      return error instanceof ShadowkeepError ? error : messageError(name, error);
    }
  };
}

/** The error for bytes that are no message of this name. */
export function messageError(name: string, error: unknown): ShadowkeepError {
  return invalidField('message', `is no shadowkeep.v1.${name}: ${(error as Error).message}`);
}

/** Decodes a GetShadowRequest. Its boxes are put beside the message, in columns. */
function decodeRead<Request>(method: Method<Request>, bytes: Buffer): Request {
  const { rest, boxes } = toEnd(takeBoxes(bytes, READ_BOXES));
  const request = method.requestDeserialize(rest as Buffer);
  return boxes === undefined ? request : (Object.assign(request as object, { boxList: boxes }) as Request);
}

/** An Update message with an opening, still in its bytes, because the opening's boxes take long to decode. */
export class OpeningBytes {
  readonly #bytes: Buffer;
  /** Where the tag of the opening stands in the bytes. `#value` is where the opening itself stands. */
  readonly #at: number;
  readonly #value: { readonly start: number; readonly end: number };

  constructor(bytes: Buffer, at: number, value: { readonly start: number; readonly end: number }) {
    this.#bytes = bytes;
    this.#at = at;
    this.#value = value;
  }

  /** Decodes the message, with its boxes in columns. Yields between slices. Throws what is wrong with the bytes. */
  *decode(): Generator<void, DecodedUpdate> {
    try {
      const { start, end } = this.#value;
      const bytes = this.#bytes;
      const { rest, boxes } = yield* takeBoxes(bytes.subarray(start, end), OPEN_BOXES);
      const { requestDeserialize } = shadowWeightsDefinition.Update;
      if (boxes === undefined) return requestDeserialize(bytes);
      const head = Buffer.alloc(1 + varintBytes(rest.length));
      head[0] = OPEN_TAG;
      writeVarint(head, 1, rest.length);
      const parts = [bytes.subarray(0, this.#at), head, rest, bytes.subarray(end)];
      return Object.assign(requestDeserialize(Buffer.concat(parts)), { boxList: boxes });
    } catch (error) {
      throw error instanceof ShadowkeepError ? error : messageError('UpdateRequest', error);
    }
  }
}

/**
 * The opening in the bytes of an Update message, wherever it stands among unknown fields; undefined when there is none.
 */
function openingIn(bytes: Buffer): OpeningBytes | undefined {
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint32(bytes, at);
    const value = valueAt(bytes, tag.end, tag.value & 7);
    if (tag.value === OPEN_TAG) return new OpeningBytes(bytes, at, value);
    at = value.end;
  }
  return undefined;
}

/** Checks the bounds of repeated fields without decoding them. Throws RangeError for bytes that are no message. */
export function checkEntries(bytes: Uint8Array, bounds: EntryBounds, fieldCountMax = Number.POSITIVE_INFINITY): void {
  const counts = new Map<number, number>();
  let at = 0;
  for (let fields = 1; at < bytes.length; fields++) {
    if (fields > fieldCountMax) throw invalidField('message', `has more than ${fieldCountMax} fields`);
    const tag = readVarint32(bytes, at);
    const number = tag.value >>> 3;
    const value = valueAt(bytes, tag.end, tag.value & 7);
    const bound = bounds[number];
    if (bound?.inside !== undefined) checkEntries(bytes.subarray(value.start, value.end), bound.inside);
    if (bound !== undefined) counts.set(number, (counts.get(number) ?? 0) + 1);
    at = value.end;
  }
  for (const [number, count] of counts) {
    const bound = bounds[number];
    if (bound !== undefined && count > bound.countMax) {
      integer(`${bound.field} length`, count, 0, bound.countMax, bound.reason);
    }
  }
}
