/*
 * A message is a sequence of fields:
 *
 *   tag    varint: field number << 3 | wire type
 *   value  by wire type: 0 a varint | 1 eight bytes | 2 a varint length and that many bytes | 5 four bytes
 */
export const WIRE_TYPE = { varint: 0, eightBytes: 1, lengthDelimited: 2, fourBytes: 5 } as const;

/** Tags and lengths have 32 bits, values 64. */
const VARINT32_BYTES_MAX = 5;
const VARINT64_BYTES_MAX = 10;

/** Where the value of a field lies that has its tag before `at`. Throws RangeError, as all here do for no message. */
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

export function readVarint32(bytes: Uint8Array, start: number): { value: number; end: number } {
  const end = varintEnd(bytes, start, VARINT32_BYTES_MAX);
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = (value << 7) | ((bytes[at] ?? 0) & 0x7f);
  return { value: value >>> 0, end };
}

/** An int32 or an enum: the low 32 bits with their sign; a negative one comes in ten bytes. */
export function readInt32(bytes: Uint8Array, start: number): number {
  const end = Math.min(varintEnd(bytes, start, VARINT64_BYTES_MAX), start + VARINT32_BYTES_MAX);
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = (value << 7) | ((bytes[at] ?? 0) & 0x7f);
  return value;
}

/** A value over 2^53 is not exact. */
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

/** Bytes of a protobuf varint; `value` is a safe integer. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** Returns where the number ends. */
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
