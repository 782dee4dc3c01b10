import type { MessageTypeDefinition } from '@grpc/proto-loader';
import {
  AVERAGE_COUNT_MAX,
  type ErrorReason,
  PATTERN_COUNT_MAX,
  ShadowkeepError,
  TENSOR_COUNT_MAX,
} from '../common/index.js';
import { integer, invalidField } from './fields.js';

/*
 * A message is a sequence of fields:
 *
 *   tag    varint: field number << 3 | wire type
 *   value  by wire type: 0 a varint | 1 eight bytes | 2 a varint length and that many bytes | 5 four bytes
 */
const WIRE_TYPE = { varint: 0, eightBytes: 1, lengthDelimited: 2, fourBytes: 5 } as const;

/** Tags and lengths have 32 bits, values 64. */
const VARINT32_BYTES_MAX = 5;
const VARINT64_BYTES_MAX = 10;

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
  OpenRunRequest: {
    2: { field: 'tensors', countMax: TENSOR_COUNT_MAX, reason: 'TOO_MANY_TENSORS' },
    3: { field: 'averages', countMax: AVERAGE_COUNT_MAX, reason: 'INVALID_AVERAGE', inside: AVERAGE_BOUNDS },
    8: { field: 'policies', countMax: PATTERN_COUNT_MAX },
  },
  AddAverageRequest: { 2: { field: 'average', countMax: ONCE, inside: AVERAGE_BOUNDS } },
  GetShadowRequest: {
    7: { field: 'names', countMax: PATTERN_COUNT_MAX },
    8: { field: 'boxes', countMax: TENSOR_COUNT_MAX },
  },
  UpdateRequest: {
    1: { field: 'open', countMax: ONCE, inside: { 4: { field: 'open.boxes', countMax: TENSOR_COUNT_MAX } } },
  },
};

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
      // Of every message: protobufjs takes a string that ends past its message's end for a shorter string.
      checkEntries(bytes, bounds);
      return method.requestDeserialize(bytes);
    } catch (error) {
      if (error instanceof ShadowkeepError) return error;
      return invalidField('message', `is no shadowkeep.v1.${name}: ${(error as Error).message}`);
    }
  };
}

function checkEntries(bytes: Uint8Array, bounds: EntryBounds): void {
  const counts = new Map<number, number>();
  let at = 0;
  while (at < bytes.length) {
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

/** Where the value of a field lies that has its tag before `at`. */
function valueAt(bytes: Uint8Array, at: number, wireType: number): { start: number; end: number } {
  switch (wireType) {
    case WIRE_TYPE.varint:
      return { start: at, end: varintEnd(bytes, at, VARINT64_BYTES_MAX) };
    case WIRE_TYPE.eightBytes:
      return within(bytes, at, 8);
    case WIRE_TYPE.fourBytes:
      return within(bytes, at, 4);
    case WIRE_TYPE.lengthDelimited: {
      const length = readVarint32(bytes, at);
      return within(bytes, length.end, length.value);
    }
    default:
      throw new RangeError(`wire type ${wireType} at byte ${at}`);
  }
}

function within(bytes: Uint8Array, start: number, length: number): { start: number; end: number } {
  const end = start + length;
  if (end > bytes.length) throw new RangeError(`a field ends at byte ${end}, the message has ${bytes.length}`);
  return { start, end };
}

function readVarint32(bytes: Uint8Array, start: number): { value: number; end: number } {
  const end = varintEnd(bytes, start, VARINT32_BYTES_MAX);
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = (value << 7) | ((bytes[at] ?? 0) & 0x7f);
  return { value: value >>> 0, end };
}

function varintEnd(bytes: Uint8Array, start: number, bytesMax: number): number {
  for (let at = start; at < start + bytesMax; at++) {
    const byte = bytes[at];
    if (byte === undefined) throw new RangeError(`the message ends inside of a number at byte ${at}`);
    if (byte < 0x80) return at + 1;
  }
  throw new RangeError(`the number at byte ${start} has more than ${bytesMax} bytes`);
}
