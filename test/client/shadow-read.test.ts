import type { ServerWritableStream } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { averageMean, type ShadowkeepClient } from '../../src/client/index.js';
import { crc32c } from '../../src/common/index.js';
import { asF32, eventually, f32, failureOf, startPeer, startService } from './support.js';

/** Elements of a tensor of 64 MiB, which is more than a stream and its windows hold. */
const LARGE_COUNT = 16 << 20;

async function pushLarge(client: ShadowkeepClient, step: number): Promise<void> {
  const run = await client.openRun({
    run: 'large',
    tensors: [
      { name: 'a', dtype: 'F32', shape: [3] },
      { name: 'b', dtype: 'F32', shape: [LARGE_COUNT] },
    ],
    averages: [averageMean('mean')],
  });
  await run.update(step, { a: f32(1, 2, 3), b: new Float32Array(LARGE_COUNT).fill(step) });
  await run.close();
}

describe('a streamed read', () => {
  test('gives the byte space in chunks, and the same in pieces of tensors', async () => {
    const { client } = await startService({ memoryBytes: 512 << 20 });
    await pushLarge(client, 1);
    const read = await client.readShadow({ run: 'large' });
    expect(read.header).toMatchObject({ step: 1, numUpdates: 1, average: 'mean', totalBytes: 64 + LARGE_COUNT * 4 });
    let received = 0;
    for await (const { offset, data } of read.chunks) {
      expect(offset).toBe(received);
      received += data.length;
    }
    expect(received).toBe(read.header.totalBytes);

    const { header, pieces } = await client.readShadow({ run: 'large', names: ['a'] });
    expect(header.tensors).toEqual([
      { name: 'a', dtype: 'F32', shape: [3], boxOffset: [0], globalShape: [3], averaged: true, offset: 0, bytes: 12 },
    ]);
    const parts: [string, number, number[]][] = [];
    for await (const { tensor, begin, data } of pieces) parts.push([tensor.name, begin, asF32(data.slice())]);
    expect(parts).toEqual([['a', 0, [1, 2, 3]]]);
  });

  test('ends at the server when its loop is left, and when its signal says so', async () => {
    const { client } = await startService({ memoryBytes: 512 << 20 });
    await pushLarge(client, 1);
    const readers = async () => (await client.getRun('large')).readersConnected;
    const left = await client.readShadow({ run: 'large' });
    await eventually(readers).toBe(1);
    for await (const _ of left.chunks) break;
    await eventually(readers).toBe(0);

    const unread = await client.readShadow({ run: 'large' });
    await eventually(readers).toBe(1);
    unread.cancel();
    await eventually(readers).toBe(0);

    const controller = new AbortController();
    const aborted = await client.readShadow({ run: 'large', signal: controller.signal });
    const reading = (async () => {
      for await (const _ of aborted.pieces) controller.abort(new Error('enough'));
    })();
    expect((await failureOf(reading)).message).toBe('enough');
    await eventually(readers).toBe(0);
    expect((await failureOf(client.readShadow({ run: 'large', signal: controller.signal }))).message).toBe('enough');
  });

  test('that is not consumed costs the server nothing but its windows', async () => {
    const { client } = await startService({ memoryBytes: 512 << 20 });
    await pushLarge(client, 1);
    const read = await client.readShadow({ run: 'large' });
    const sent = async () => (await client.getRun('large')).bytesSent;
    const quiet = async () => {
      const before = await sent();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return before > 0 && (await sent()) === before;
    };
    await eventually(quiet).toBe(true);
    expect(await sent()).toBeLessThan(read.header.totalBytes * 0.75);
    // The read is still whole after the wait.
    let received = 0;
    for await (const { data } of read.chunks) received += data.length;
    expect(received).toBe(read.header.totalBytes);
  });

  test('fails with the server’s reason', async () => {
    const { client } = await startService({ memoryBytes: 512 << 20 });
    expect(await failureOf(client.readShadow({ run: 'none' }))).toMatchObject({ reason: 'RUN_NOT_FOUND' });
    await pushLarge(client, 3);
    for (const [options, reason] of [
      [{ average: 'other' }, 'AVERAGE_NOT_FOUND'],
      [{ step: 2 }, 'VERSION_NOT_FOUND'],
      [{ minStep: 9, waitMs: 50 }, 'WAIT_TIMEOUT'],
      [{ names: ['nothing*'] }, 'INVALID_FIELD'],
      [{ step: 1, minStep: 1 }, 'INVALID_FIELD'],
    ] as const) {
      expect(await failureOf(client.getShadow({ run: 'large', ...options }))).toMatchObject({ reason });
    }
    const read = await client.readShadow({ run: 'large' });
    await client.deleteRun('large');
    const reading = (async () => {
      for await (const _ of read.chunks);
    })();
    expect(await failureOf(reading)).toMatchObject({ reason: 'RUN_DELETED' });
  });
});

const DATA = Buffer.alloc(128, 7);
const HEADER = {
  run: 'r',
  average: 'a',
  step: 1,
  total_bytes: 128,
  tensors: [
    { name: 'x', dtype: 'U8', shape: [10], offset: 0 },
    { name: 'y', dtype: 'F64', shape: [8], offset: 64 },
  ],
};

function chunk(offset: number, bytes: number): object {
  const data = DATA.subarray(0, bytes);
  return { chunk: { offset, data, crc32c: crc32c(data) } };
}

const END = { end: { total_bytes: 128 } };

describe('a peer that sends', () => {
  const answers: [string, object[], string][] = [
    ['no header', [chunk(0, 128), END], 'does not begin with its header'],
    ['nothing', [], 'does not begin with its header'],
    ['a tensor at another place', [{ header: { ...HEADER, tensors: HEADER.tensors.toReversed() } }], 'starts at byte'],
    ['another length', [{ header: { ...HEADER, total_bytes: 256 } }], 'has 256 bytes, its tensors need 128'],
    ['no dtype', [{ header: { ...HEADER, tensors: [{ name: 'x', shape: [1] }] } }], 'unknown dtype'],
    ['a gap', [{ header: HEADER }, chunk(0, 32), chunk(64, 64), END], 'a chunk at byte 64 where 32 was due'],
    ['an overlap', [{ header: HEADER }, chunk(0, 64), chunk(32, 96), END], 'a chunk at byte 32 where 64 was due'],
    ['bytes past the end', [{ header: HEADER }, chunk(0, 64), chunk(64, 80), END], 'past the end of 128 bytes'],
    ['an end too soon', [{ header: HEADER }, chunk(0, 64), END], 'ended after 64 of 128 bytes'],
    ['no end', [{ header: HEADER }, chunk(0, 128)], 'the read ended after 128 of 128 bytes without its end'],
    ['more after the end', [{ header: HEADER }, chunk(0, 128), END, END], 'after the end'],
    ['two headers', [{ header: HEADER }, { header: HEADER }], 'header in the middle'],
    ['no checksum', [{ header: HEADER }, { chunk: { offset: 0, data: DATA } }], 'without its checksum'],
    [
      'a wrong byte',
      [{ header: HEADER }, { chunk: { offset: 0, data: DATA, crc32c: 5 } }],
      'its sender computed 0x00000005',
    ],
  ];
  test.each(answers)('%s fails the read', async (_, messages, text) => {
    const { client } = await startPeer({
      GetShadow: (call: ServerWritableStream<object, object>) => {
        for (const message of messages) call.write(message);
        call.end();
      },
    });
    expect((await failureOf(client.getShadow({ run: 'r' }))).message).toContain(text);
  });
});
