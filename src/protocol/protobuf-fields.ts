/*
 * Reads and writes the fields of protobuf messages by hand. A message is a sequence of fields:
 *
 *   tag    varint: field number << 3 | wire type
 *   value  by wire type: 0 a varint | 1 eight bytes | 2 a varint length and that many bytes | 5 four bytes
 */
export const WIRE_TYPE = { varint: 0, eightBytes: 1, lengthDelimited: 2, fourBytes: 5 } as const;

/** Most bytes of a varint of 32 bits, as tags and lengths are, and of one of 64 bits, as values are. */
const VARINT32_BYTES_MAX = 5;
const VARINT64_BYTES_MAX = 10;

/** Where the value lies of the field whose tag ends at `at`. Throws RangeError for bytes that are no message. */
export function valueAt(bytes: Uint8Array, at: number, wireType: number): { start: number; end: number } {
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

/** Reads a varint of up to 32 bits. Throws RangeError for bytes that are no message. */
export function readVarint32(bytes: Uint8Array, start: number): { value: number; end: number } {
  const end = varintEnd(bytes, start, VARINT32_BYTES_MAX);
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = (value << 7) | ((bytes[at] ?? 0) & 0x7f);
  return { value: value >>> 0, end };
}

/** Reads an int32 or an enum: the low 32 bits with their sign. A negative number has ten bytes on the wire. */
export function readInt32(bytes: Uint8Array, start: number): number {
  const end = Math.min(varintEnd(bytes, start, VARINT64_BYTES_MAX), start + VARINT32_BYTES_MAX);
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = (value << 7) | ((bytes[at] ?? 0) & 0x7f);
  return value;
}

/** Reads a varint of up to 64 bits. A value over 2^53 is rounded. Throws RangeError for bytes that are no message. */
export function readVarint64(bytes: Uint8Array, start: number): { value: number; end: number } {
  const end = varintEnd(bytes, start, VARINT64_BYTES_MAX);
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = value * 128 + ((bytes[at] ?? 0) & 0x7f);
  return { value, end };
}

function within(bytes: Uint8Array, start: number, length: number): { start: number; end: number } {
  const end = start + length;
  if (end > bytes.length) throw new RangeError(`a field ends at byte ${end}, the message has ${bytes.length}`);
  return { start, end };
}

function varintEnd(bytes: Uint8Array, start: number, bytesMax: number): number {
  for (let at = start; at < start + bytesMax; at++) {
    const byte = bytes[at];
    if (byte === undefined) throw new RangeError(`the message ends inside of a number at byte ${at}`);
    if (byte < 0x80) return at + 1;
  }
  throw new RangeError(`the number at byte ${start} has more than ${bytesMax} bytes`);
}

/** Length of the varint of `value`, bytes. `value` must be a safe integer. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** Writes the varint of `value` at `at`. Returns where it ends. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let next = at;
  while (rest >= 128) {
    target[next++] = (rest % 128) + 128;
    rest = Math.floor(rest / 128);
  }
  target[next++] = rest;
  return next;
}
