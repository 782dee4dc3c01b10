import { describe, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { stalledReader } from './bare-http2.js';
import { expectError } from './expect-error.js';
import { ask, eventually, KERNELS, openRun, rawClient, SMALL, serve } from './harness.js';
import { f32Space, f32Values, read } from './read.js';
import { Upload } from './upload.js';

/** Length of a shadow. With a step in flight the run takes 48 MiB. */
const TIGHT_BYTES = 24 << 20;

/** A run whose shadow equals the newest step. Tests push steps of equal elements, so a read of two steps shows. */
const ASSIGN = { ...SMALL, averages: [{ name: 'ema', start: 'FIRST', constant: { decay: 0 } }] } as const;

describe('one read is one step', () => {
  test('readers that come while small steps are committed as fast as they can', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client, { ...ASSIGN, averages: [...ASSIGN.averages] });
    const upload = new Upload(client).open(generation);
    const stepCount = 1_000;
    for (let step = 1; step <= stepCount; step++) upload.push(step, f32Space([step, step, step, step]));
    const readers = Array.from({ length: 4 }, async () => {
      const steps: number[] = [];
      let last = 0;
      while (last < stepCount) {
        const { header, bytes } = await read(client, { min_step: last + 1, wait_ms: 60_000 });
        last = Number(header.step);
        expect(f32Values(bytes, 4)).toEqual([last, last, last, last]);
        expect(Number(header.num_updates)).toBe(last);
        steps.push(last);
      }
      return steps;
    });
    for (let step = 1; step <= stepCount; step++) expect((await upload.ack()).step).toBe(step);
    for (const steps of await Promise.all(readers)) expect(steps).toEqual(steps.toSorted((a, b) => a - b));
  });

  test('ten commits under a reader that stands still: the trainer goes on, the bytes are those of one step, memory is bounded', async () => {
    const server = await serve();
    const client = rawClient(server);
    // On a connection of its own: what it does not read would stand before the other answers.
    const slow = rawClient(server, { 'grpc-node.flow_control_window': 1 << 16 });
    const elements = 1 << 20;
    const { generation } = await openRun(client, {
      ...ASSIGN,
      averages: [...ASSIGN.averages],
      tensors: [{ name: 'w', dtype: 'F32', shape: [elements] }],
    });
    const upload = new Upload(client).open(generation);
    const pushAll = async (step: number): Promise<void> => {
      const bytes = Buffer.from(new Float32Array(elements).fill(step).buffer);
      for (let offset = 0; offset < bytes.length; offset += 1 << 20)
        upload.chunk(step, offset, bytes.subarray(offset, offset + (1 << 20)));
      expect((await upload.commit(step, bytes.length).ack()).state).toBe('COMMITTED');
    };
    await pushAll(1);
    const reader = slow.getShadow({ run: 'r', chunk_bytes: 4_096 });
    await new Promise((resolve) => reader.once('readable', resolve));
    const sentBytes = await untilStill(async () => Number((await ask(client, 'GetRun')).bytes_sent));
    expect(sentBytes).toBeLessThan(elements);
    for (let step = 2; step <= 11; step++) await pushAll(step);
    const run = await ask(client, 'GetRun');
    expect({ sent: run.bytes_sent, readers: run.readers_connected, pinned: run.memory?.pinned_bytes }).toEqual({
      sent: sentBytes,
      readers: 1,
      pinned: elements * 4,
    });
    const parts: Buffer[] = [];
    let step: unknown;
    for await (const { header, chunk } of reader) {
      step = header?.step ?? step;
      if (chunk) parts.push(chunk.data);
    }
    const bytes = Buffer.concat(parts);
    expect(step).toBe(1);
    expect(bytes.equals(Buffer.from(new Float32Array(elements).fill(1).buffer))).toBe(true);
    await eventually(async () => ((await ask(client, 'GetRun')).memory?.pinned_bytes === 0 ? true : undefined));
    expect((await read(client)).header.step).toBe(11);
  });

  test('a reader whose memory the trainer needs is told, and the trainer never waits', async () => {
    const server = await serve({ memoryBytes: 64 << 20, kernels: KERNELS });
    const client = rawClient(server);
    // On a connection of its own: what it does not read would stand before the other answers.
    const slow = rawClient(server, { 'grpc-node.flow_control_window': 1 << 16 });
    const push = await openTight(client);
    await push(1);
    const reader = slow.getShadow({ run: 'r', chunk_bytes: 4_096 });
    await new Promise((resolve) => reader.once('readable', resolve));
    await push(2);
    await expectError(
      new Promise((_, reject) => reader.on('error', reject).resume()),
      'ABORTED',
      'VERSION_EVICTED',
      /^step 1 of run "r" was evicted: a new step needed its memory$/,
    );
    expect((await read(client)).header.step).toBe(2);
  });
});

test('where there is no room for a second shadow, readers beside a trainer without pause finish', async () => {
  const server = await serve({ memoryBytes: 64 << 20, kernels: KERNELS });
  const client = rawClient(server);
  const push = await openTight(client);
  await push(1);
  let finished = 0;
  let steps = 1;
  const isDone = (): boolean => finished >= 4 && steps >= 8;
  const train = async (): Promise<void> => {
    while (!isDone()) await push(++steps);
  };
  const evaluate = async (): Promise<void> => {
    const own = rawClient(server);
    while (!isDone()) {
      const bytes = await read(own).then(
        (shadow) => shadow.bytes.length,
        () => 0,
      );
      if (bytes === TIGHT_BYTES) finished += 1;
    }
  };
  await Promise.all([train(), ...Array.from({ length: 16 }, evaluate)]);
}, 240_000);

test('a reader that vanishes is let go after the lease', async () => {
  const server = await serve({ readLeaseMs: 50 });
  const client = rawClient(server);
  const { generation } = await openRun(client, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [128] }] });
  const upload = new Upload(client).open(generation);
  const readers = (count: number) => async () =>
    (await ask(client, 'GetRun')).readers_connected === count ? true : undefined;
  const push = async (step: number): Promise<void> => {
    await upload.push(step, f32Space(new Array(128).fill(step))).ack();
  };
  await push(1);
  const call = stalledReader(server.port, { run: 'r', chunk_bytes: 16 });
  await eventually(readers(1));
  await push(2);
  expect((await ask(client, 'GetRun')).memory?.pinned_bytes).toBe(4_096);
  call.kill();
  await eventually(readers(0));
  await eventually(async () => ((await ask(client, 'GetRun')).memory?.pinned_bytes === 0 ? true : undefined));
  await expectError(
    read(client, { step: 1 }),
    'NOT_FOUND',
    'VERSION_NOT_FOUND',
    /^step 1 of run "r" is no longer held/,
  );
});

/** Opens a run that leaves no room for a second shadow in 64 MiB. Returns the function that pushes a step. */
async function openTight(client: ShadowWeightsClient): Promise<(step: number) => Promise<void>> {
  const { generation } = await openRun(client, {
    ...ASSIGN,
    averages: [...ASSIGN.averages],
    tensors: [{ name: 'w', dtype: 'F32', shape: [TIGHT_BYTES / 4] }],
  });
  const upload = new Upload(client).open(generation);
  const chunk = Buffer.alloc(1 << 20);
  return async (step) => {
    for (let offset = 0; offset < TIGHT_BYTES; offset += chunk.length) upload.chunk(step, offset, chunk);
    expect((await upload.commit(step, TIGHT_BYTES).ack()).state).toBe('COMMITTED');
  };
}

/** Polls until a value stays the same several times in a row, and returns it. */
async function untilStill(look: () => Promise<number>): Promise<number> {
  for (let last = await look(), count = 0; ; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = await look();
    count = now === last ? count + 1 : 0;
    last = now;
    if (count === 10) return last;
  }
}
