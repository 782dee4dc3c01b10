import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../src/common/index.js';
import { validateUpdate, validateUpdateOpen } from '../../../src/server/messages/index.js';
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

  test('is a loss, of steps up to an exact number', () => {
    expect(validate({ lost: { through: 7 } })).toEqual({ kind: 'lost', through: 7 });
    expect(validate({ lost: {} })).toEqual({ kind: 'lost', through: 0 });
    expect(refused(() => validate({ lost: { through: 2 ** 53 } }))).toMatchObject({ field: 'lost.through' });
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
    const message = validate({ open: { run: 'r', generation: 1, ...rest } });
    if (message.kind !== 'open') throw new Error('it is an opening');
    return validateUpdateOpen(message);
  };
  const DEFAULTS = {
    run: 'r',
    generation: 1,
    writer: 0,
    boxes: undefined,
    wireDType: undefined,
    takeover: false,
    session: '',
  };

  test('names the run, the generation, the writer and the dtype of the wire', () => {
    expect(open({})).toEqual(DEFAULTS);
    expect(open({ wire_dtype: 'F16', writer: 1_023, takeover: true })).toEqual({
      ...DEFAULTS,
      writer: 1_023,
      wireDType: 'F16',
      takeover: true,
    });
    expect(refused(() => open({ wire_dtype: 'U8' }))).toMatchObject({ field: 'open.wire_dtype' });
    expect(refused(() => open({ run: '../r' }))).toMatchObject({ reason: 'INVALID_NAME', field: 'open.run' });
    expect(refused(() => open({ writer: 1_024 }))).toEqual({
      reason: 'INVALID_FIELD',
      message: 'open.writer must be an integer from 0 to 1023, got 1024',
      field: 'open.writer',
    });
    expect(open({ session: 's'.repeat(128) }).session).toHaveLength(128);
    expect(refused(() => open({ session: 's'.repeat(129) }))).toMatchObject({
      reason: 'INVALID_FIELD',
      message: 'open.session length must be an integer from 0 to 128, got 129',
    });
  });
});
