import type { MessageTypeDefinition } from '@grpc/proto-loader';
import {
  AVERAGE_COUNT_MAX,
  type ErrorReason,
  PATTERN_COUNT_MAX,
  REQUEST_BYTES_MAX,
  ShadowkeepError,
  TENSOR_COUNT_MAX,
} from '../common/index.js';
import { OPEN_BOXES, READ_BOXES, takeBoxes } from './box-columns.js';
import { integer, invalidField } from './fields.js';
import { readVarint32, valueAt, varintBytes, writeVarint } from './protobuf-fields.js';

/** How often a field may come in a message, and what is bounded inside of it, by its number. */
interface EntryBound {
  readonly field: string;
  readonly countMax: number;
  readonly reason?: ErrorReason;
  readonly inside?: EntryBounds;
}
type EntryBounds = Readonly<Record<number, EntryBound>>;

/** For the inside of a field that does not repeat. */
const ONCE = Number.POSITIVE_INFINITY;

const AVERAGE_BOUNDS: EntryBounds = {
  8: { field: 'average.include', countMax: PATTERN_COUNT_MAX, reason: 'INVALID_AVERAGE' },
  9: { field: 'average.exclude', countMax: PATTERN_COUNT_MAX, reason: 'INVALID_AVERAGE' },
};

/**
 * An entry costs a sender two bytes and the server an object with every default in it, a hundred times as much: what is
 * over the bound of a repeated message is refused before it is decoded.
 */
const ENTRY_BOUNDS: Readonly<Partial<Record<string, EntryBounds>>> = {
  // Two of them are one message, in pieces: each would have boxes.
  UpdateRequest: { 1: { field: 'open', countMax: 1 } },
  AddAverageRequest: { 2: { field: 'average', countMax: ONCE, inside: AVERAGE_BOUNDS } },
  GetShadowRequest: {
    7: { field: 'names', countMax: PATTERN_COUNT_MAX },
    8: { field: 'boxes', countMax: TENSOR_COUNT_MAX },
  },
};

/** Of an OpenRunRequest without its tensors. */
export const OPEN_RUN_BOUNDS: EntryBounds = {
  3: { field: 'averages', countMax: AVERAGE_COUNT_MAX, reason: 'INVALID_AVERAGE', inside: AVERAGE_BOUNDS },
  8: { field: 'policies', countMax: PATTERN_COUNT_MAX },
};

/** Fields of a message of an Update stream beside its boxes: there are a few, and each that nobody knows takes time too. */
const UPDATE_FIELD_COUNT_MAX = 1_024;

/** The tag of UpdateRequest.open. */
const OPEN_TAG = 0x0a;

/** What is needed of a method. */
interface Method<Request> {
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly requestType: MessageTypeDefinition<object, object>;
}

/**
 * The decoder of a method's requests. It returns the error of bytes that are no request, because gRPC answers one that is
 * thrown with INTERNAL, which says that the server has a bug.
 */
export function requestDecoder<Request>(method: Method<Request>): (bytes: Buffer) => Request | ShadowkeepError {
  const { name } = method.requestType.type as { name: string };
  const bounds = ENTRY_BOUNDS[name] ?? {};
  return (bytes) => {
    try {
      if (name === 'UpdateRequest') {
        checkEntries(bytes, bounds, UPDATE_FIELD_COUNT_MAX);
        return decodeUpdate(method, bytes);
      }
      integer(`bytes of ${name}`, bytes.length, 0, REQUEST_BYTES_MAX);
      // Of every message: protobufjs takes a string that ends past its message's end for a shorter string.
      checkEntries(bytes, bounds);
      if (name === 'GetShadowRequest') return decodeRead(method, bytes);
      return method.requestDeserialize(bytes);
    } catch (error) {
      return error instanceof ShadowkeepError ? error : messageError(name, error);
    }
  };
}

/** What is said of bytes that are no message. */
export function messageError(name: string, error: unknown): ShadowkeepError {
  return invalidField('message', `is no shadowkeep.v1.${name}: ${(error as Error).message}`);
}

/** A GetShadowRequest; its boxes come in columns. */
function decodeRead<Request>(method: Method<Request>, bytes: Buffer): Request {
  const { rest, boxes } = takeBoxes(bytes, READ_BOXES);
  const request = method.requestDeserialize(rest as Buffer);
  return boxes === undefined ? request : (Object.assign(request as object, { boxList: boxes }) as Request);
}

/** A message of an Update stream; the boxes of an opening come in columns, wherever it stands among fields that nobody knows. */
function decodeUpdate<Request>(method: Method<Request>, bytes: Buffer): Request {
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint32(bytes, at);
    const value = valueAt(bytes, tag.end, tag.value & 7);
    if (tag.value === OPEN_TAG) return decodeOpen(method, bytes, at, value);
    at = value.end;
  }
  return method.requestDeserialize(bytes);
}

/** A message whose opening has its tag at `at`. */
function decodeOpen<Request>(
  method: Method<Request>,
  bytes: Buffer,
  at: number,
  value: { start: number; end: number },
): Request {
  const { rest, boxes } = takeBoxes(bytes.subarray(value.start, value.end), OPEN_BOXES);
  if (boxes === undefined) return method.requestDeserialize(bytes);
  const head = Buffer.alloc(1 + varintBytes(rest.length));
  head[0] = OPEN_TAG;
  writeVarint(head, 1, rest.length);
  const parts = [bytes.subarray(0, at), head, rest, bytes.subarray(value.end)];
  const request = method.requestDeserialize(Buffer.concat(parts));
  return Object.assign(request as object, { boxList: boxes }) as Request;
}

/** Counts what repeats, without decoding it. Throws RangeError for bytes that are no message. */
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
