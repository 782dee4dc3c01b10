import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../src/common/index.js';
import type { Tensor } from '../../../src/protocol/gen/shadowkeep/v1/Tensor.js';
import { expectError, pictureOf } from '../expect-error.js';
import { ask, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, f32Values, read } from '../read.js';
import { Upload } from '../upload.js';

/** The fields about boxes of a whole tensor in a read. */
const WHOLE = { box_offset: [], global_shape: [] };

describe('Update', () => {
  test('a step is folded and acknowledged', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation);
    expect((await upload.next()).opened).toMatchObject({ step_bytes: 64 });
    upload.push(1, f32Space([1, 2, 3, 4]));
    expect(await upload.ack()).toMatchObject({ step: 1, state: 'COMMITTED', committed_step: 1 });
    upload.push(2, f32Space([3, 4, 5, 8]));
    await upload.ack();
    const { header, bytes } = await read(client);
    expect(header).toMatchObject({ step: 2, num_updates: 2, weight: 0.5, average: 'ema', total_bytes: 64 });
    expect(f32Values(bytes, 4)).toEqual([2, 3, 4, 6]);
  });

  test('a new stream is told where the run stands', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const first = new Upload(client).open(generation).push(4, f32Space([1, 1, 1, 1]));
    await first.ack();
    await first.end();
    expect((await new Upload(client).open(generation).next()).opened).toMatchObject({
      step_bytes: 64,
      committed_step: 4,
    });
  });

  test('a duplicate step and a step that falls are acknowledged and not folded', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(5, f32Space([1, 1, 1, 1]));
    expect((await upload.ack()).state).toBe('COMMITTED');
    upload
      .push(5, f32Space([1, 1, 1, 1]))
      .push(3, f32Space([9, 9, 9, 9]))
      .commit(0, 0)
      .push(6, f32Space([3, 3, 3, 3]));
    expect([await upload.ack(), await upload.ack(), await upload.ack(), await upload.ack()]).toMatchObject([
      { step: 5, state: 'ALREADY_COMMITTED', committed_step: 5 },
      { step: 3, state: 'ALREADY_COMMITTED', committed_step: 5 },
      { step: 0, state: 'ALREADY_COMMITTED', committed_step: 5 },
      { step: 6, state: 'COMMITTED', committed_step: 6 },
    ]);
    const { header, bytes } = await read(client);
    expect({ updates: header.num_updates, values: f32Values(bytes, 4) }).toEqual({ updates: 2, values: [2, 2, 2, 2] });
  });

  test('a committed step that comes again with other content is a conflict, and changes nothing', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(5, f32Space([1, 1, 1, 1]));
    await upload.ack();
    const metadata = await expectError(
      upload.push(5, f32Space([1, 1, 9, 1])).ack(),
      'ALREADY_EXISTS',
      'STEP_CONFLICT',
      /^step 5 was committed with other content: rewind to a retained version \(resume_step\), or go on with steps after 5$/,
    );
    expect(metadata).toEqual({ step: '5', committedStep: '5' });
    const next = new Upload(client).open(generation).push(6, f32Space([3, 3, 3, 3]));
    expect(await next.ack()).toMatchObject({ step: 6, state: 'COMMITTED' });
    expect(f32Values((await read(client)).bytes, 4)).toEqual([2, 2, 2, 2]);
  });

  test('steps may skip, and begin at 0', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation);
    for (const step of [0, 7, 2 ** 52]) {
      expect(await upload.push(step, f32Space([1, 1, 1, 1])).ack()).toMatchObject({ step, state: 'COMMITTED' });
    }
    expect((await read(client)).header).toMatchObject({ step: 2 ** 52, num_updates: 3 });
  });

  test('an initial push assigns and counts no update; it is required by INITIAL, once, and before the first update', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client, {
      ...SMALL,
      averages: [{ name: 'ema', start: 'INITIAL', constant: { decay: 0.5 } }],
    });
    await expectError(
      new Upload(client)
        .open(generation)
        .push(1, f32Space([1, 1, 1, 1]))
        .ack(),
      'FAILED_PRECONDITION',
      'INITIAL_REQUIRED',
      /^average "ema" starts from INITIAL: push the initial weights of run "r" first, or start it from FIRST$/,
    );
    const first = new Upload(client).open(generation).push(0, f32Space([8, 8, 8, 8]), { initial: true });
    expect((await first.ack()).state).toBe('COMMITTED');
    expect((await ask(client, 'GetRun')).states).toEqual([{ name: 'ema', num_updates: 0, movement: null }]);
    expect((await read(client)).header).toMatchObject({ num_updates: 0, weight: 1 });
    first.push(0, f32Space([8, 8, 8, 8]), { initial: true });
    expect((await first.ack()).state).toBe('ALREADY_COMMITTED');
    first.push(1, f32Space([4, 4, 4, 4]));
    await first.ack();
    await expectError(
      first.push(2, f32Space([9, 9, 9, 9]), { initial: true }).ack(),
      'FAILED_PRECONDITION',
      'INITIAL_TOO_LATE',
      /^initial push of step 2: run "r" has committed step 1$/,
    );
    expect(f32Values((await read(client)).bytes, 4)).toEqual([6, 6, 6, 6]);
  });

  test('a skipped step is acknowledged and not folded: readers see it, its averages are those before', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(1, f32Space([1, 1, 1, 1]));
    await upload.ack();
    const before = await read(client);
    // Steps are skipped without their bytes, with a part of them, and with all of them.
    upload.commit(2, 0, { skipped: true });
    expect(await upload.ack()).toMatchObject({ step: 2, state: 'SKIPPED', committed_step: 2, detail: '' });
    upload.chunk(3, 0, Buffer.alloc(32, 7)).commit(3, 64, { skipped: true });
    expect(await upload.ack()).toMatchObject({ step: 3, state: 'SKIPPED', committed_step: 3 });
    upload.push(7, f32Space([9, 9, 9, 9]), { skipped: true });
    expect(await upload.ack()).toMatchObject({ step: 7, state: 'SKIPPED', committed_step: 7 });
    const { header, bytes } = await read(client, { step: 7 });
    expect(header).toMatchObject({ step: 7, num_updates: 1, weight: 1 });
    expect(bytes).toEqual(before.bytes);
    expect(Number(header.version)).toBeGreaterThan(Number(before.header.version));
    expect((await ask(client, 'GetRun')).commits, 'nothing was folded').toBe(1);
    upload.commit(7, 0, { skipped: true }).push(8, f32Space([3, 3, 3, 3]));
    expect([await upload.ack(), await upload.ack()]).toMatchObject([
      { step: 7, state: 'ALREADY_COMMITTED', committed_step: 7 },
      { step: 8, state: 'COMMITTED', committed_step: 8 },
    ]);
    expect(f32Values((await read(client)).bytes, 4)).toEqual([2, 2, 2, 2]);
  });

  test('a step that is skipped before the first commit leaves nothing to see', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).commit(5, 64, { skipped: true });
    const ack = await upload.ack();
    expect(ack).toMatchObject({ step: 5, state: 'SKIPPED' });
    expect(ack).not.toHaveProperty('committed_step');
    await expectError(read(client), 'FAILED_PRECONDITION', 'NOTHING_COMMITTED', /^run "r": nothing is committed yet$/);
    // After a restart from the beginning the trainer may send the step that it has skipped before.
    expect((await upload.push(1, f32Space([1, 1, 1, 1])).ack()).state).toBe('COMMITTED');
  });

  test('time goes on while steps are skipped, updates do not', async () => {
    const client = rawClient(await serve());
    const averages = [
      { name: 'steps', start: 'INITIAL' as const, constant: { decay: 0.5 }, decay_unit: 'PER_STEP' as const },
      { name: 'updates', start: 'INITIAL' as const, constant: { decay: 0.5 } },
    ];
    const { generation } = await openRun(client, { ...SMALL, averages });
    const upload = new Upload(client).open(generation).push(0, f32Space([8, 8, 8, 8]), { initial: true });
    upload
      .commit(1, 0, { skipped: true })
      .commit(2, 0, { skipped: true })
      .push(3, f32Space([0, 0, 0, 0]));
    for (const state of ['COMMITTED', 'SKIPPED', 'SKIPPED', 'COMMITTED'])
      expect((await upload.ack()).state).toBe(state);
    expect(f32Values((await read(client, { average: 'steps' })).bytes, 1), '0.5³ of 8').toEqual([1]);
    expect(f32Values((await read(client, { average: 'updates' })).bytes, 1)).toEqual([4]);
  });

  test('averaged tensors travel in the dtype of the stream, copied ones in their own', async () => {
    const client = rawClient(await serve());
    const tensors: Tensor[] = [
      { name: 'w', dtype: 'F32', shape: [2] },
      { name: 'n', dtype: 'I64', shape: [] },
    ];
    const { generation, step_bytes } = await openRun(client, {
      ...SMALL,
      tensors: [...tensors, { name: 'h', dtype: 'F16', shape: [33] }],
    });
    expect(step_bytes).toBe(64 + 64 + 128);
    const upload = new Upload(client).open(generation, { wire_dtype: 'BF16' });
    expect((await upload.next()).opened?.step_bytes).toBe(64 + 64 + 128);
    const space = Buffer.alloc(256);
    // The step has 1.5 and -2 in BF16, then the counter 7, then 1.5 33 times.
    space.writeUInt16LE(0x3fc0, 0);
    space.writeUInt16LE(0xc000, 2);
    space.writeBigInt64LE(7n, 64);
    for (let i = 0; i < 33; i++) space.writeUInt16LE(0x3fc0, 128 + i * 2);
    await upload.push(1, space).ack();
    const { header, bytes } = await read(client);
    expect(header.tensors).toEqual([
      { name: 'w', dtype: 'F32', shape: [2], offset: 0, averaged: true, ...WHOLE },
      { name: 'n', dtype: 'I64', shape: [], offset: 64, averaged: false, ...WHOLE },
      { name: 'h', dtype: 'F32', shape: [33], offset: 128, averaged: true, ...WHOLE },
    ]);
    expect(f32Values(bytes, 2)).toEqual([1.5, -2]);
    expect(bytes.readBigInt64LE(64)).toBe(7n);
    expect(new Set(f32Values(bytes, 33, 128))).toEqual(new Set([1.5]));
  });

  test('boxes that say what no boxes say are taken', async () => {
    const client = rawClient(await serve());
    const tensors: Tensor[] = [
      { name: 'a', dtype: 'F32', shape: [2, 3] },
      { name: 'x', dtype: 'F32', shape: [2], policy: 'IGNORE' },
      { name: 'b', dtype: 'F32', shape: [] },
    ];
    const { generation } = await openRun(client, { ...SMALL, tensors });
    const boxes = [{ tensor: 0, offset: [0, 0], extent: [2, 3] }, { tensor: 2 }];
    expect((await new Upload(client).open(generation, { boxes }).next()).opened?.step_bytes).toBe(128);
  });

  test('a chunk with its checksum is taken, one with another is DATA_LOSS', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const data = Buffer.alloc(64);
    const upload = new Upload(client).open(generation).chunk(1, 0, data, { crc32c: crc32c(data) });
    expect((await upload.commit(1, 64).ack()).state).toBe('COMMITTED');
    const before = await upload.end().then(() => pictureOf(client));
    await expectError(
      new Upload(client).open(generation).chunk(2, 0, data, { crc32c: 1 }).failure(),
      'DATA_LOSS',
      'CRC_MISMATCH',
      /^chunk of step 2 at offset 0 has crc32c \d+, its header says 1$/,
    );
    expect(await pictureOf(client)).toEqual(before);
  });

  test('half-close ends the stream with OK; a step that was not committed is gone', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client)
      .open(generation)
      .push(1, f32Space([1, 1, 1, 1]))
      .chunk(2, 0, Buffer.alloc(32));
    await upload.ack();
    await upload.end();
    const next = new Upload(client).open(generation).push(2, f32Space([3, 3, 3, 3]));
    expect((await next.ack()).state).toBe('COMMITTED');
    expect(f32Values((await read(client)).bytes, 4)).toEqual([2, 2, 2, 2]);
  });
});
