import { HEADER_BYTES_MAX, HEADER_ENTRY_COUNT_MAX } from '../../../src/storage/safetensors/format.js';

/** A file that must be refused, why, and what the reference implementation says to it. */
export interface HostileFile {
  title: string;
  bytes: Uint8Array;
  problem: RegExp;
  /** We are stricter on purpose, or have lower bounds. */
  referenceAccepts?: true;
}

/** A file with this header, as it stands, and `dataBytes` zeros behind it. */
export function fileOf(header: string | Uint8Array, dataBytes = 0, claimedBytes?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const file = Buffer.alloc(8 + text.length + dataBytes);
  file.writeBigUInt64LE(claimedBytes ?? BigInt(text.length));
  file.set(text, 8);
  return file;
}

const F32 = (begin: number | string, end: number | string, shape = '[1]') =>
  `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;
const one = (entry: string, dataBytes = 4) => fileOf(`{"a":${entry}}`, dataBytes);

const LENGTH: HostileFile[] = [
  { title: 'an empty file', bytes: new Uint8Array(0), problem: /it has 0 bytes/ },
  { title: 'seven bytes', bytes: new Uint8Array(7), problem: /it has 7 bytes/ },
  { title: 'no header', bytes: new Uint8Array(8), problem: /does not start with \{/ },
  { title: 'a header longer than the file', bytes: fileOf('{}', 0, 3n), problem: /has 3 bytes, but the file has 10/ },
  {
    title: 'a header of 2^64 − 1 bytes',
    bytes: fileOf('{}', 0, 2n ** 64n - 1n),
    problem: /18446744073709551615 bytes/,
  },
  { title: 'a header of 2^63 bytes', bytes: fileOf('{}', 0, 2n ** 63n), problem: /at most 16777216/ },
  { title: 'a header shorter than its JSON', bytes: fileOf('{"a":1}', 0, 4n), problem: /expected :/ },
  {
    title: 'a header over the bound',
    bytes: fileOf(`{}${' '.repeat(HEADER_BYTES_MAX - 1)}`),
    problem: /at most 16777216/,
    referenceAccepts: true,
  },
  {
    title: 'too many entries',
    bytes: fileOf(
      `{${Array.from({ length: HEADER_ENTRY_COUNT_MAX + 1 }, (_, i) => `"${i}":${F32(0, 0, '[0]')}`).join(',')}}`,
    ),
    problem: /more than 100000 entries/,
    referenceAccepts: true,
  },
];

const JSON_TEXT: HostileFile[] = [
  { title: 'a leading space', bytes: fileOf(' {}'), problem: /does not start with \{/, referenceAccepts: true },
  { title: 'a byte order mark', bytes: fileOf('\ufeff{}'), problem: /does not start with \{/ },
  { title: 'an array', bytes: fileOf('[]'), problem: /does not start with \{/ },
  { title: 'bytes that are not UTF-8', bytes: fileOf(Buffer.from('{"\xff":1}', 'latin1')), problem: /not UTF-8/ },
  { title: 'an overlong UTF-8 form', bytes: fileOf(Buffer.from('{"\xc0\xaf":1}', 'latin1')), problem: /not UTF-8/ },
  { title: 'a second object', bytes: fileOf('{}{}'), problem: /expected the end/ },
  { title: 'zeros as padding', bytes: fileOf('{}\0\0'), problem: /expected the end/ },
  { title: 'an object that does not end', bytes: fileOf('{'), problem: /expected "/ },
  { title: 'a string that does not end', bytes: fileOf('{"a'), problem: /does not end/ },
  { title: 'a string that ends in an escape', bytes: fileOf('{"a\\'), problem: /does not end/ },
  { title: 'a comma too many', bytes: fileOf(`{"a":${F32(0, 4)},}`, 4), problem: /expected "/ },
  { title: 'a comma too few', bytes: fileOf(`{"a":${F32(0, 4)}"b":${F32(4, 8)}}`, 8), problem: /expected \}/ },
  { title: 'a single-quoted name', bytes: fileOf(`{'a':${F32(0, 4)}}`, 4), problem: /expected "/ },
  { title: 'a comment', bytes: fileOf(`{/**/"a":${F32(0, 4)}}`, 4), problem: /expected "/ },
  { title: 'a raw line feed in a name', bytes: fileOf(`{"a\n":${F32(0, 4)}}`, 4), problem: /control character/ },
  { title: 'an unknown escape', bytes: fileOf(`{"\\x61":${F32(0, 4)}}`, 4), problem: /bad escape/ },
  { title: 'half of a surrogate pair', bytes: fileOf(`{"\\ud800":${F32(0, 4)}}`, 4), problem: /surrogate/ },
  {
    title: 'a name twice',
    bytes: fileOf(`{"a":${F32(0, 4)},"a":${F32(4, 8)}}`, 8),
    problem: /key "a" appears twice/,
  },
  {
    title: 'a name twice, once escaped',
    bytes: fileOf(`{"a":${F32(0, 4)},"\\u0061":${F32(0, 4)}}`, 4),
    problem: /key "a" appears twice/,
    referenceAccepts: true,
  },
  { title: '10,000 nested arrays', bytes: one(`${'['.repeat(10_000)}${']'.repeat(10_000)}`), problem: /expected \{/ },
];

const ENTRIES: HostileFile[] = [
  { title: 'a tensor that is null', bytes: one('null'), problem: /expected \{/ },
  { title: 'a tensor without fields', bytes: one('{}', 0), problem: /needs a dtype, a shape and two data_offsets/ },
  { title: 'no dtype', bytes: one('{"shape":[1],"data_offsets":[0,4]}'), problem: /needs a dtype/ },
  { title: 'no shape', bytes: one('{"dtype":"F32","data_offsets":[0,4]}'), problem: /needs a dtype, a shape/ },
  { title: 'no offsets', bytes: one('{"dtype":"F32","shape":[1]}'), problem: /needs a dtype, a shape and two/ },
  { title: 'one offset', bytes: one('{"dtype":"F32","shape":[1],"data_offsets":[0]}'), problem: /two data_offsets/ },
  { title: 'three offsets', bytes: one('{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}'), problem: /more than 2/ },
  {
    title: 'a field twice',
    bytes: one('{"dtype":"F32","shape":[1],"data_offsets":[0,4],"dtype":"I32"}'),
    problem: /key "dtype" appears twice/,
  },
  {
    title: 'an unknown field',
    bytes: one('{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}'),
    problem: /unknown field "x"/,
    referenceAccepts: true,
  },
  { title: 'an unknown dtype', bytes: one(F32(0, 4).replace('F32', 'F31')), problem: /dtype "F31", known are BOOL/ },
  { title: 'a dtype in lower case', bytes: one(F32(0, 4).replace('F32', 'f32')), problem: /dtype "f32"/ },
  { title: 'a dtype from a prototype', bytes: one(F32(0, 4).replace('F32', 'toString')), problem: /dtype "toString"/ },
  {
    title: 'a dtype that is not served',
    bytes: one('{"dtype":"C64","shape":[],"data_offsets":[0,8]}', 8),
    problem: /dtype "C64"/,
    referenceAccepts: true,
  },
  { title: 'metadata that is a list', bytes: fileOf('{"__metadata__":[]}'), problem: /expected \{/ },
  { title: 'metadata with a number', bytes: fileOf('{"__metadata__":{"a":1}}'), problem: /expected "/ },
  {
    title: 'metadata twice',
    bytes: fileOf('{"__metadata__":{},"__metadata__":{}}'),
    problem: /"__metadata__" appears twice/,
  },
  {
    title: 'a metadata key twice',
    bytes: fileOf('{"__metadata__":{"a":"1","a":"2"}}'),
    problem: /key "a" appears twice/,
    referenceAccepts: true,
  },
];

const NUMBERS: HostileFile[] = [
  { title: 'a negative extent', bytes: one(F32(0, 4, '[-1]')), problem: /expected a whole number/ },
  { title: 'a fraction', bytes: one(F32(0, 4, '[1.0]')), problem: /expected \]/ },
  { title: 'an exponent', bytes: one(F32(0, 4, '[1e0]')), problem: /expected \]/ },
  { title: 'a number in quotes', bytes: one(F32(0, 4, '["1"]')), problem: /expected a whole number/ },
  { title: 'a leading zero', bytes: one(F32(0, 4, '[01]')), problem: /starts with 0/ },
  { title: 'a plus sign', bytes: one(F32(0, 4, '[+1]')), problem: /expected a whole number/ },
  { title: 'other digits', bytes: one(F32(0, 4, '[١]')), problem: /expected a whole number/ },
  { title: '2^53 + 1, which rounds', bytes: one(F32(0, '9007199254740993', '[0]')), problem: /not below 2\^53/ },
  { title: 'an extent of a million digits', bytes: one(F32(0, 4, `[${'9'.repeat(1e6)}]`)), problem: /not below 2\^53/ },
  {
    title: 'a shape whose product overflows to its size',
    bytes: one(F32(0, 4, '[4294967296,4294967296,1]')),
    problem: /too many elements/,
  },
  {
    title: 'a rank of 65',
    bytes: one(F32(0, 4, `[${Array(65).fill(1)}]`)),
    problem: /more than 64 numbers/,
    referenceAccepts: true,
  },
];

const OFFSETS: HostileFile[] = [
  { title: 'offsets that fall', bytes: one(F32(4, 0)), problem: /lies at 4 to 0/ },
  { title: 'fewer bytes than the shape', bytes: one(F32(0, 4, '[2]')), problem: /F32\[2\] has 8 bytes/ },
  { title: 'more bytes than the shape', bytes: one(F32(0, 8), 8), problem: /F32\[1\] has 4 bytes/ },
  { title: 'offsets past the end', bytes: one(F32(0, 4), 3), problem: /end at 4, but the file has 3 bytes of data/ },
  { title: 'bytes after the last tensor', bytes: one(F32(0, 4), 5), problem: /the file has 5 bytes of data/ },
  { title: 'bytes without a tensor', bytes: fileOf('{}', 1), problem: /end at 0, but the file has 1 bytes/ },
  { title: 'a gap before the first tensor', bytes: one(F32(4, 8), 8), problem: /the one before it ends at 0/ },
  {
    title: 'a gap',
    bytes: fileOf(`{"a":${F32(0, 4)},"b":${F32(8, 12)}}`, 12),
    problem: /"b" lies at 8 to 12, but the one before it ends at 4/,
  },
  {
    title: 'an overlap',
    bytes: fileOf(`{"a":${F32(0, 8, '[2]')},"b":${F32(4, 8)}}`, 8),
    problem: /"b" lies at 4 to 8, but the one before it ends at 8/,
  },
  {
    title: 'two tensors in one place',
    bytes: fileOf(`{"a":${F32(0, 4)},"b":${F32(0, 4)}}`, 4),
    problem: /lies at 0 to 4, but the one before it ends at 4/,
  },
  {
    title: 'an empty tensor inside another one',
    bytes: fileOf(`{"a":${F32(0, 4)},"b":${F32(2, 2, '[0]')}}`, 4),
    problem: /lies at 2 to 2, but the one before it ends at 4/,
  },
];

export const HOSTILE_FILES: HostileFile[] = [...LENGTH, ...JSON_TEXT, ...ENTRIES, ...NUMBERS, ...OFFSETS];
