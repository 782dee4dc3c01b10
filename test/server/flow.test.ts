import { describe, expect, test } from 'vitest';
import { BareCall, updateFrame } from './bare-http2.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { f32Space, f32Values, read } from './read.js';
import { Upload } from './upload.js';

const DEADLINE_EXCEEDED = 4;

describe('an uploader that stops', () => {
  test('between two chunks: its step is dropped, its stream ended, its place free', async () => {
    const client = rawClient(await serve({ stepTimeoutMs: 1_000 }));
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(1, f32Space([1, 1, 1, 1]));
    await upload.ack();
    const metadata = await expectError(
      upload.chunk(2, 0, Buffer.alloc(32)).failure(),
      'DEADLINE_EXCEEDED',
      'STEP_TIMEOUT',
      /^step 2 got no bytes for 1000 ms, 32 of 64 had arrived$/,
    );
    expect(metadata).toEqual({ step: '2', receivedBytes: '32', stepBytes: '64' });
    const next = new Upload(client).open(generation).push(2, f32Space([3, 3, 3, 3]));
    expect((await next.ack()).state).toBe('COMMITTED');
    expect(f32Values((await read(client)).bytes, 4)).toEqual([2, 2, 2, 2]);
  });

  test('in the middle of a chunk: the same, with the half chunk in nobody’s memory', async () => {
    const server = await serve({ stepTimeoutMs: 1_000 });
    const client = rawClient(server);
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(1, f32Space([1, 1, 1, 1]));
    await upload.ack();
    await upload.end();
    const before = await pictureOf(client);
    const half = updateFrame({ chunk: { step: 2, offset: 32, data: Buffer.alloc(32) } }).subarray(0, 20);
    const call = new BareCall(server.port, 'Update')
      .send(updateFrame({ open: { run: 'r', generation } }))
      .send(updateFrame({ chunk: { step: 2, offset: 0, data: Buffer.alloc(32) } }))
      .send(half);
    expect((await call.closed()).status).toBe(DEADLINE_EXCEEDED);
    call.kill();
    expect(await pictureOf(client)).toEqual(before);
  });

  test('between two steps may be silent for as long as it likes', async () => {
    // The timeout is long enough for a busy machine to take a step that is sent in one go.
    const stepTimeoutMs = 1_000;
    const client = rawClient(await serve({ stepTimeoutMs }));
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation);
    for (const step of [1, 2]) {
      await upload.push(step, f32Space([1, 1, 1, 1])).ack();
      await new Promise((resolve) => setTimeout(resolve, 2 * stepTimeoutMs));
    }
    expect((await upload.push(3, f32Space([1, 1, 1, 1])).ack()).state).toBe('COMMITTED');
  });

  test('each chunk gives it time again', async () => {
    const client = rawClient(await serve({ stepTimeoutMs: 2_000 }));
    const { generation } = await openRun(client, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [512] }] });
    const upload = new Upload(client).open(generation);
    for (let offset = 0; offset < 2_048; offset += 16) {
      upload.chunk(1, offset, Buffer.alloc(16));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await upload.commit(1, 2_048).ack()).state).toBe('COMMITTED');
  });
});

describe('a second stream of the writer', () => {
  test('is refused, and the first goes on', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const first = new Upload(client).open(generation).chunk(1, 0, Buffer.alloc(32));
    await first.next();
    await expectError(
      new Upload(client).open(generation).failure(),
      'FAILED_PRECONDITION',
      'WRITER_BUSY',
      /^writer 0 of run "r" already has a stream$/,
    );
    expect((await first.chunk(1, 32, Buffer.alloc(32)).commit(1, 64).ack()).state).toBe('COMMITTED');
  });

  test('gets the place of one whose connection broke', async () => {
    const server = await serve();
    const client = rawClient(server);
    const { generation } = await openRun(client);
    const call = new BareCall(server.port, 'Update').send(updateFrame({ open: { run: 'r', generation } }));
    await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 1 ? true : undefined));
    call.kill();
    await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 0 ? true : undefined));
    expect(
      (
        await new Upload(client)
          .open(generation)
          .push(1, f32Space([1, 1, 1, 1]))
          .ack()
      ).state,
    ).toBe('COMMITTED');
  });
});

describe('while a large step is folded', () => {
  test('other calls are answered', async () => {
    const client = rawClient(await serve());
    const elements = 6 << 20;
    const { generation } = await openRun(client, {
      ...SMALL,
      tensors: [{ name: 'w', dtype: 'F32', shape: [elements] }],
    });
    await openRun(client, { ...SMALL, run: 'other' });
    const upload = new Upload(client).open(generation);
    const chunk = Buffer.alloc(1 << 20);
    let isFolded = false;
    for (let step = 1; step <= 3; step++) {
      for (let offset = 0; offset < elements * 4; offset += chunk.length) upload.chunk(step, offset, chunk);
      upload.commit(step, elements * 4);
    }
    const acks = (async () => {
      for (let step = 1; step <= 3; step++) await upload.ack();
      isFolded = true;
    })();
    let answers = 0;
    while (!isFolded) {
      await ask(client, 'GetRun', { run: 'other' });
      answers += 1;
    }
    await acks;
    expect(answers).toBeGreaterThan(3);
  });
});
