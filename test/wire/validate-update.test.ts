import { describe, expect, test } from 'vitest';
import { crc32c } from '../../src/common/index.js';
import { placeTensors } from '../../src/engine/index.js';
import { validateBoxes, validateUpdate, validateUpdateOpen } from '../../src/wire/index.js';
import { arrived, refused } from './requests.js';

const validate = (request: object) => validateUpdate(arrived('Update', request));
const data = Buffer.from('0123456789abcdef');

describe('a message of an Update stream', () => {
  test('is open, a chunk or a commit', () => {
    expect(validate({ open: { run: 'r', generation: 2 } })).toMatchObject({
      kind: 'open',
      open: { run: 'r', generation: 2 },
    });
    expect(validate({ chunk: { step: 3, offset: 16, data } })).toEqual({ kind: 'chunk', step: 3, offset: 16, data });
    expect(validate({ commit: { step: 3, bytes: 64 } })).toEqual({
      kind: 'commit',
      step: 3,
      bytes: 64,
      isInitial: false,
    });
    expect(validate({ commit: { initial: true } })).toEqual({ kind: 'commit', step: 0, bytes: 0, isInitial: true });
    expect(refused(() => validate({}))).toMatchObject({ reason: 'INVALID_FIELD', field: 'message' });
  });

  test('is a skip, of whatever length, that is no initial push', () => {
    expect(validate({ commit: { step: 3, bytes: 7, skipped: true } })).toEqual({ kind: 'skip', step: 3 });
    expect(refused(() => validate({ commit: { step: 3, skipped: true, initial: true } }))).toEqual({
      reason: 'INVALID_FIELD',
      message: 'commit.skipped and commit.initial exclude each other',
      field: 'commit.skipped',
    });
  });

  test('a checksum is compared when there is one, also when it is 0', () => {
    expect(validate({ chunk: { data, crc32c: crc32c(data) } })).toMatchObject({ kind: 'chunk' });
    expect(refused(() => validate({ chunk: { step: 4, offset: 32, data, crc32c: 0 } }))).toMatchObject({
      reason: 'CRC_MISMATCH',
      message: `chunk of step 4 at offset 32 has crc32c ${crc32c(data)}, its header says 0`,
    });
  });
});

describe('an UpdateOpen', () => {
  const open = (rest: object) => {
    const message = arrived('Update', { open: { run: 'r', generation: 1, ...rest } });
    return validateUpdateOpen(message.open!);
  };

  test('names the run, the generation and the dtype of the wire', () => {
    expect(open({})).toEqual({ run: 'r', generation: 1, wireDType: undefined });
    expect(open({ wire_dtype: 'F16' })).toEqual({ run: 'r', generation: 1, wireDType: 'F16' });
    expect(refused(() => open({ wire_dtype: 'U8' }))).toMatchObject({ field: 'open.wire_dtype' });
    expect(refused(() => open({ writer: 1 }))).toMatchObject({ field: 'open.writer' });
    expect(refused(() => open({ run: '../r' }))).toMatchObject({ reason: 'INVALID_NAME', field: 'open.run' });
  });
});

describe('boxes', () => {
  const { tensors } = placeTensors([
    { name: 'a', dtype: 'F32', shape: [2, 3], policy: 'AVERAGE' },
    { name: 'x', dtype: 'F32', shape: [9], policy: 'IGNORE' },
    { name: 's', dtype: 'F32', shape: [], policy: 'AVERAGE' },
    { name: 'e', dtype: 'I8', shape: [0], policy: 'COPY' },
  ]);
  const problemOf = (boxes: object[]) =>
    refused(() => validateBoxes(arrived('Update', { open: { boxes } }).open!.boxes, tensors));

  test('that say each tensor whole and in order are what no boxes say', () => {
    expect(problemOf([])).toBeUndefined();
    expect(problemOf([{ tensor: 0 }, { tensor: 2 }, { tensor: 3 }])).toBeUndefined();
    expect(
      problemOf([
        { tensor: 0, offset: [0, 0], extent: [2, 3] },
        { tensor: 2 },
        { tensor: 3, offset: [0], extent: [0] },
      ]),
    ).toBeUndefined();
  });

  test('name the tensors that are sent once behind all others', () => {
    const once = placeTensors([
      { name: 'frozen', dtype: 'F32', shape: [2], policy: 'COPY_ONCE' },
      { name: 'w', dtype: 'F32', shape: [2], policy: 'AVERAGE' },
    ]).tensors;
    const problem = (boxes: object[]) =>
      refused(() => validateBoxes(arrived('Update', { open: { boxes } }).open!.boxes, once))?.reason;
    expect(problem([{ tensor: 1 }, { tensor: 0 }])).toBeUndefined();
    expect(problem([{ tensor: 0 }, { tensor: 1 }])).toBe('UNIMPLEMENTED');
    expect(problem([{ tensor: 1 }])).toBe('UNIMPLEMENTED');
  });

  test.each<[string, object[]]>([
    ['a part of a tensor', [{ tensor: 0, offset: [0, 0], extent: [1, 3] }, { tensor: 2 }, { tensor: 3 }]],
    ['a moved part', [{ tensor: 0, offset: [1, 0], extent: [2, 3] }, { tensor: 2 }, { tensor: 3 }]],
    ['one too few', [{ tensor: 0 }, { tensor: 2 }]],
    ['another order', [{ tensor: 2 }, { tensor: 0 }, { tensor: 3 }]],
    ['an ignored tensor', [{ tensor: 0 }, { tensor: 1 }, { tensor: 2 }]],
    ['a replica', [{ tensor: 0, replica_group: 1 }, { tensor: 2 }, { tensor: 3 }]],
  ])('%s is not served yet', (_, boxes) => {
    expect(problemOf(boxes)?.reason).toBe('UNIMPLEMENTED');
  });

  test.each<[object, string]>([
    [
      { tensor: 0, offset: [0], extent: [2, 3] },
      'must have 2 offsets and extents, or none, got 1 offsets and 2 extents',
    ],
    [{ tensor: 0, extent: [2, 3] }, 'must have 2 offsets and extents, or none, got 0 offsets and 2 extents'],
    [{ tensor: 0, offset: [0, 0] }, 'must have 2 offsets and extents, or none, got 2 offsets and 0 extents'],
    [{ tensor: 2, offset: [0], extent: [1] }, 'must have 0 offsets and extents, or none, got 1 offsets and 1 extents'],
  ])('%j has not the rank of its tensor', (box, problem) => {
    expect(problemOf([box])).toEqual({
      reason: 'INVALID_FIELD',
      message: `open.boxes[0] ${problem}`,
      field: 'open.boxes[0]',
    });
  });

  test('of a tensor that is not there are refused', () => {
    expect(problemOf([{ tensor: 4 }])).toMatchObject({ reason: 'INVALID_FIELD', field: 'open.boxes[0].tensor' });
  });
});
