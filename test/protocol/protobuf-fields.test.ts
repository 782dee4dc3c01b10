import { describe, expect, test } from 'vitest';
import {
  readInt32,
  readVarint32,
  readVarint64,
  valueAt,
  varintBytes,
  WIRE_TYPE,
  writeVarint,
} from '../../src/protocol/protobuf-fields.js';

const NUMBERS = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 35, 2 ** 49, 2 ** 53 - 1];

describe('a varint', () => {
  test.each(NUMBERS)('of %i is read as it was written, in the least bytes', (value) => {
    const bytes = new Uint8Array(3 + varintBytes(value) + 1).fill(0xff);
    const end = writeVarint(bytes, 3, value);
    expect(end).toBe(bytes.length - 1);
    expect(varintBytes(value)).toBe(Math.max(1, Math.ceil((value === 0 ? 0 : Math.floor(Math.log2(value)) + 1) / 7)));
    expect(readVarint64(bytes, 3)).toEqual({ value, end });
    if (value < 2 ** 32) expect(readVarint32(bytes, 3)).toEqual({ value, end });
  });

  test('may be longer than it needs to be; over 32 bits the rest is dropped, over 53 it is not exact', () => {
    expect(readVarint64(Uint8Array.of(0x85, 0x80, 0x80, 0), 0)).toEqual({ value: 5, end: 4 });
    expect(readVarint32(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x7f), 0)).toEqual({ value: 2 ** 32 - 1, end: 5 });
    expect(readVarint64(Uint8Array.of(...Array(9).fill(0xff), 1), 0).value).toBe(2 ** 64);
  });

  test.each([
    [0, [0]],
    [-1, [...Array(9).fill(0xff), 1]],
    [-(2 ** 31), [0x80, 0x80, 0x80, 0x80, 0xf8, ...Array(4).fill(0xff), 1]],
    [2 ** 31 - 1, [0xff, 0xff, 0xff, 0xff, 0x07]],
    [5, [0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0]],
  ])('of an int32 has its sign: %i', (value, bytes) => {
    expect(readInt32(Uint8Array.of(0xff, ...bytes, 0xff), 1)).toBe(value);
  });

  test.each([
    [
      'an end inside of it',
      () => readVarint64(Uint8Array.of(0x80, 0x80), 0),
      'the message ends inside of a number at byte 2',
    ],
    ['nothing', () => readVarint32(Uint8Array.of(), 0), 'the message ends inside of a number at byte 0'],
    [
      'six bytes of 32 bits',
      () => readVarint32(Uint8Array.of(0, ...Array(5).fill(0x80), 1), 1),
      'the number at byte 1 has more than 5 bytes',
    ],
    [
      'eleven bytes',
      () => readVarint64(new Uint8Array(11).fill(0x80), 0),
      'the number at byte 0 has more than 10 bytes',
    ],
  ])('is refused with %s', (_, action, message) => {
    expect(action).toThrow(new RangeError(message));
  });
});

describe('the value of a field', () => {
  const bytes = Uint8Array.of(0x96, 0x01, 3, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf, 0);

  test.each([
    ['a varint', 0, WIRE_TYPE.varint, { start: 0, end: 2 }],
    ['bytes', 2, WIRE_TYPE.lengthDelimited, { start: 3, end: 6 }],
    ['no bytes', 9, WIRE_TYPE.lengthDelimited, { start: 10, end: 10 }],
    ['four bytes', 6, WIRE_TYPE.fourBytes, { start: 6, end: 10 }],
    ['eight bytes', 2, WIRE_TYPE.eightBytes, { start: 2, end: 10 }],
  ])('is %s', (_, at, wireType, place) => {
    expect(valueAt(bytes, at, wireType)).toEqual(place);
  });

  test.each([
    ['four bytes', 7, WIRE_TYPE.fourBytes, 'a field ends at byte 11, the message has 10'],
    ['eight bytes', 3, WIRE_TYPE.eightBytes, 'a field ends at byte 11, the message has 10'],
    ['bytes', 3, WIRE_TYPE.lengthDelimited, 'a field ends at byte 14, the message has 10'],
    ['a group', 0, 3, 'wire type 3 at byte 0'],
    ['no type', 1, 7, 'wire type 7 at byte 1'],
  ])('is refused where %s ends past the message, or is none', (_, at, wireType, message) => {
    expect(() => valueAt(bytes, at, wireType)).toThrow(new RangeError(message));
  });
});
