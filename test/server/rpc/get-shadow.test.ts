import { beforeEach, describe, expect, test } from 'vitest';
import { crc32c } from '../../../src/common/index.js';
import type { ShadowWeightsClient } from '../../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { stalledReader } from '../bare-http2.js';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, serve } from '../harness.js';
import { f32Space, f32Values, type ReadResult, read } from '../read.js';
import { Upload } from '../upload.js';

/** A run with two averages and four tensors, one of which is copied and one ignored. */
const MIXED = {
  run: 'r',
  tensors: [
    { name: 'layer.0.w', dtype: 'F32', shape: [2, 3] },
    { name: 'layer.0.n', dtype: 'I32', shape: [2] },
    { name: 'frozen', dtype: 'F32', shape: [9], policy: 'IGNORE' },
    { name: 'layer.1.w', dtype: 'F32', shape: [20] },
  ],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.5 } },
    { name: 'mean', start: 'FIRST', precision: 'F64', mean: {} },
  ],
};

let client: ShadowWeightsClient;
let upload: Upload;
let port: number;

beforeEach(async () => {
  const server = await serve({ readLeaseMs: 60_000 });
  port = server.port;
  client = rawClient(server);
  const { generation } = await openRun(client, MIXED as never);
  upload = new Upload(client).open(generation);
});

function stepSpace(value: number): Buffer {
  const space = f32Space(new Array(6).fill(value), [], new Array(20).fill(-value));
  return Buffer.concat([
    space.subarray(0, 64),
    Buffer.from(Int32Array.of(value, 9).buffer),
    Buffer.alloc(56),
    space.subarray(64),
  ]);
}

async function push(...steps: number[]): Promise<void> {
  for (const step of steps) await upload.push(step, stepSpace(step)).ack();
}

const ema = { average: 'ema' };
const stepOf = ({ header }: ReadResult): number => Number(header.step);

describe('GetShadow', () => {
  test('the newest version: header, bytes with zero gaps, copied tensors as they were pushed', async () => {
    await push(1, 2);
    const { header, bytes } = await read(client, ema);
    expect(header).toMatchObject({
      run: 'r',
      average: 'ema',
      step: 2,
      num_updates: 2,
      generation: 1,
      weight: 0.5,
      total_bytes: 256,
    });
    expect(header.tensors.map(({ name, offset, averaged }) => [name, offset, averaged])).toEqual([
      ['layer.0.w', 0, true],
      ['layer.0.n', 64, false],
      ['layer.1.w', 128, true],
    ]);
    const expected = Buffer.concat([
      f32Space(new Array(6).fill(1.5)),
      Buffer.from(Int32Array.of(2, 9).buffer),
      Buffer.alloc(56),
      f32Space(new Array(20).fill(-1.5)),
    ]);
    expect(bytes).toEqual(expected);
  });

  test('each average in its precision, or cast on the way', async () => {
    await push(1, 2, 4);
    const { header, bytes } = await read(client, { average: 'mean' });
    expect(header).toMatchObject({ average: 'mean', num_updates: 3, weight: 1 / 3, total_bytes: 64 + 64 + 192 });
    expect(bytes.readDoubleLE(0)).toBe(1.5 + (1 / 3) * 2.5);
    const narrow = await read(client, { average: 'mean', dtype: 'BF16' });
    expect(narrow.header.tensors.map(({ dtype }) => dtype)).toEqual(['BF16', 'I32', 'BF16']);
    // 0x4015 is 2.3333… in BF16.
    expect(narrow.bytes.readUInt16LE(0)).toBe(0x4015);
  });

  test('one average of several must be named, by a name that the run has', async () => {
    await push(1);
    await expectError(
      read(client),
      'NOT_FOUND',
      'AVERAGE_NOT_FOUND',
      /^run "r" has several averages, name one of "ema", "mean"$/,
    );
    await expectError(
      read(client, { average: 'x' }),
      'NOT_FOUND',
      'AVERAGE_NOT_FOUND',
      /^run "r" has no average "x", it has "ema", "mean"$/,
    );
  });

  test('only the tensors that are asked for, in the order of the layout', async () => {
    await push(3);
    const { header, bytes } = await read(client, { ...ema, names: ['layer.1.*', '*.n'] });
    expect(header.tensors.map(({ name, offset }) => [name, offset])).toEqual([
      ['layer.0.n', 0],
      ['layer.1.w', 64],
    ]);
    expect(bytes).toHaveLength(64 + 128);
    expect(f32Values(bytes, 20, 64)).toEqual(new Array(20).fill(-3));
    await expectError(
      read(client, { ...ema, names: ['layer.*', 'nope*'] }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^names\[1\] "nope\*" matches no tensor/,
    );
    await expectError(
      read(client, { ...ema, names: ['frozen'] }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^names\[0\] "frozen" matches no tensor/,
    );
  });

  test('chunks of the size that is asked for, with checksums when asked', async () => {
    await push(1);
    const chunks: { offset: number; data: Buffer; crc32c?: number }[] = [];
    for await (const { chunk } of client.getShadow({ run: 'r', ...ema, chunk_bytes: 48, checksums: true }))
      if (chunk) chunks.push(chunk as never);
    expect(chunks.map(({ offset, data }) => [Number(offset), data.length])).toEqual([
      [0, 48],
      [48, 48],
      [96, 48],
      [144, 48],
      [192, 48],
      [240, 16],
    ]);
    expect(chunks.map((chunk) => chunk.crc32c)).toEqual(chunks.map(({ data }) => crc32c(data)));
    for await (const { chunk } of client.getShadow({ run: 'r', ...ema }))
      expect(chunk ?? {}).not.toHaveProperty('crc32c');
  });

  test('before the first commit: refused, or waited for', async () => {
    await expectError(
      read(client, ema),
      'FAILED_PRECONDITION',
      'NOTHING_COMMITTED',
      /^run "r": nothing is committed yet$/,
    );
    await expectError(
      read(client, { ...ema, wait_ms: 20 }),
      'DEADLINE_EXCEEDED',
      'WAIT_TIMEOUT',
      /^run "r": waited 20 ms for a first commit, nothing is committed$/,
    );
    const waiting = read(client, { ...ema, wait_ms: 60_000 });
    await push(5);
    expect(stepOf(await waiting)).toBe(5);
  });

  test('before anybody has opened the run: refused, or waited for, and then for its first commit', async () => {
    const later = { ...ema, run: 'later' };
    await expectError(read(client, later), 'NOT_FOUND', 'RUN_NOT_FOUND', /^run "later" does not exist$/);
    await expectError(read(client, { ...later, wait_ms: 20 }), 'NOT_FOUND', 'RUN_NOT_FOUND', /^run "later" does not/);
    const waiting = read(client, { ...later, wait_ms: 60_000 });
    // The service takes a connection's requests in order, so the wait has begun before the run is opened.
    const { generation } = await openRun(client, { ...MIXED, run: 'later' } as never);
    const other = new Upload(client).open(generation, { run: 'later' });
    await other.push(7, stepSpace(1)).ack();
    expect(stepOf(await waiting)).toBe(7);
  });

  test('a step that is still to come: refused, or waited for', async () => {
    await push(3);
    await expectError(
      read(client, { ...ema, min_step: 4 }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      /^run "r": step 4 has not come yet, the newest is 3$/,
    );
    await expectError(
      read(client, { ...ema, step: 4, wait_ms: 20 }),
      'DEADLINE_EXCEEDED',
      'WAIT_TIMEOUT',
      /waited 20 ms for step 4, the newest is 3$/,
    );
    const exact = read(client, { ...ema, step: 6, wait_ms: 60_000 });
    const atLeast = read(client, { ...ema, min_step: 5, wait_ms: 60_000 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 2 ? true : undefined));
    await push(4, 6);
    expect([stepOf(await exact), stepOf(await atLeast)]).toEqual([6, 6]);
    for (const min_step of [2, 6]) expect(stepOf(await read(client, { ...ema, min_step }))).toBe(6);
  });

  test('a step that has passed is refused at once, unless somebody holds it', async () => {
    await push(3, 4);
    const metadata = await expectError(
      read(client, { ...ema, step: 3, wait_ms: 60_000 }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      /^step 3 of run "r" is no longer held, the newest is 4$/,
    );
    expect(metadata).toEqual({ step: '3', committedStep: '4' });
    const { version } = await breakRead();
    await push(5);
    expect(stepOf(await read(client, { ...ema, step: 4 }))).toBe(4);
    expect(Number((await read(client, { ...ema, step: 4 })).header.version)).toBe(version);
  });

  test('a broken read goes on in its version, from any multiple of 16', async () => {
    await push(1, 2);
    const whole = (await read(client, ema)).bytes;
    const { version } = await breakRead();
    await push(3, 4);
    for (const offset of [0, 16, 144, 240, 256]) {
      const { header, bytes } = await read(client, { ...ema, resume: { version, offset } });
      expect({ step: header.step, bytes: bytes.toString('hex') }).toEqual({
        step: 2,
        bytes: whole.toString('hex', offset),
      });
    }
    await expectError(
      read(client, { ...ema, resume: { version, offset: 272 } }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^resume.offset must be at most 256, got 272$/,
    );
    await expectError(
      read(client, { ...ema, resume: { version: version - 1, offset: 0 } }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      new RegExp(`^version ${version - 1} of run "r" is no longer held$`),
    );
  });

  test('the header tells how the last fold moved the average', async () => {
    await push(1);
    const first = (await read(client, ema)).header;
    expect(first).toMatchObject({ weight: 1, movement: null });
    await push(3);
    // θ = 3 s everywhere, so ‖θ − s‖ / ‖s‖ = 2, and every element has moved.
    const moved = { distance_rel: expect.closeTo(2, 6), changed_share: 1 };
    expect((await read(client, ema)).header.movement).toMatchObject(moved);
    expect((await ask(client, 'GetRun')).states[0]?.movement).toMatchObject(moved);
    await upload.push(4, stepSpace(2)).ack();
    const still = { distance_rel: 0, changed_share: 0 };
    expect((await read(client, { average: 'mean' })).header.movement).toMatchObject(still);
    await upload.commit(5, 0, { skipped: true }).ack();
    expect((await read(client, { average: 'mean' })).header, 'of the last fold').toMatchObject({
      step: 5,
      movement: still,
    });
  });

  test('movement of what was zero is no number, and what is zero has not changed', async () => {
    await upload.push(1, stepSpace(0)).ack();
    await push(2);
    const { movement } = (await read(client, ema)).header;
    expect(movement).toMatchObject({ changed_share: 1 });
    expect(movement).not.toHaveProperty('distance_rel');
  });

  test('of an average with a filter: the tensors that it takes, and what is copied', async () => {
    const averages = [
      ...MIXED.averages,
      { name: 'one', start: 'FIRST', mean: {}, include: ['layer.*'], exclude: ['layer.0.*'] },
    ];
    const { generation } = await openRun(client, { ...MIXED, run: 'filtered', averages } as never);
    const filtered = new Upload(client).open(generation, { run: 'filtered' });
    for (const step of [1, 3]) await filtered.push(step, stepSpace(step)).ack();
    const request = { run: 'filtered', average: 'one' };
    const { header, bytes } = await read(client, request);
    expect(header.tensors.map(({ name, offset, averaged }) => [name, Number(offset), averaged])).toEqual([
      ['layer.0.n', 0, false],
      ['layer.1.w', 64, true],
    ]);
    expect(f32Values(bytes, 20, 64)).toEqual(new Array(20).fill(-2));
    expect((await read(client, { ...request, names: ['layer.1.w'] })).bytes).toEqual(bytes.subarray(64));
    await expectError(
      read(client, { ...request, names: ['layer.0.w'] }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^names\[0\] "layer\.0\.w" matches no tensor of the run$/,
    );
    expect((await read(client, { ...request, average: 'ema' })).header.tensors).toHaveLength(3);
  });

  test('an unknown run', async () => {
    await expectError(read(client, { run: 'nope' }), 'NOT_FOUND', 'RUN_NOT_FOUND', /^run "nope" does not exist$/);
  });
});

/** Breaks a read of the newest version, which the server then holds for the read lease. */
async function breakRead(): Promise<{ version: number }> {
  const { version } = (await read(client, ema)).header;
  const readers = (count: number) => async () =>
    (await ask(client, 'GetRun')).readers_connected === count ? true : undefined;
  const call = stalledReader(port, { run: 'r', ...ema, chunk_bytes: 16 });
  await eventually(readers(1));
  call.kill();
  await eventually(readers(0));
  return { version: Number(version) };
}
