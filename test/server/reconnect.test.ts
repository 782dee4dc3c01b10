import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import type { RunningServer } from '../../src/server/index.js';
import { BareCall, updateFrame } from './bare-http2.js';
import { NaiveEma, openCrew, partOf, shards, type TestBox, type TestTensor, type ValueOf } from './crew.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { read } from './read.js';
import { Upload } from './upload.js';

const ABORTED = 10;

/** A tensor of 160 bytes for a single writer. Two writers have byte spaces of 128 and 64 bytes. */
const TENSORS: TestTensor[] = [{ name: 'w', dtype: 'F32', shape: [10, 4] }];
const ALL = shards(TENSORS, 1)[0]!;
const TWO = [
  [{ tensor: 0, offset: [0, 0], extent: [7, 4] }],
  [{ tensor: 0, offset: [7, 0], extent: [3, 4] }],
] satisfies TestBox[][];

const valuesOf =
  (step: number): ValueOf =>
  (_, index) =>
    step * 40 + index;

const whole = (step: number): Buffer => partOf(TENSORS, ALL, valuesOf(step));
const part = (writer: 0 | 1, step: number): Buffer => partOf(TENSORS, TWO[writer]!, valuesOf(step));

const lines = new Map<Upload, () => void>();

afterEach(() => {
  for (const cut of lines.values()) cut();
  lines.clear();
});

/** Opens a stream on a connection of its own, which can be cut. */
async function uploadOn(server: RunningServer): Promise<Upload> {
  const sockets = new Set<Socket>();
  const line = createServer((near) => {
    const far = connect(server.port, '127.0.0.1');
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) sockets.add(socket.on('error', () => undefined));
  });
  await new Promise<void>((resolve) => line.listen(0, '127.0.0.1', resolve));
  const { port } = line.address() as AddressInfo;
  const upload = new Upload(rawClient({ ...server, port }));
  lines.set(upload, () => {
    line.close();
    for (const socket of sockets) socket.destroy();
  });
  return upload;
}

async function openWorld(client: ShadowWeightsClient, writers = 1): Promise<number> {
  return (await openRun(client, { ...SMALL, tensors: TENSORS, writers })).generation;
}

/** Sends the first `bytes` bytes of the step, waits until the server has them, and breaks the stream. */
async function breakAt(
  client: ShadowWeightsClient,
  upload: Upload,
  step: number,
  bytes: number,
  data: Buffer,
): Promise<void> {
  upload.chunk(step, 0, data.subarray(0, bytes));
  await eventually(async () => {
    const { writer_states } = await ask(client, 'GetRun');
    return writer_states.some((state) => state.receiving_step === step && state.received_bytes === bytes)
      ? true
      : undefined;
  });
  await breakNow(client, upload);
}

async function breakNow(client: ShadowWeightsClient, upload: Upload): Promise<void> {
  const { writers_connected: before } = await ask(client, 'GetRun');
  const cut = lines.get(upload);
  if (cut === undefined) upload.break();
  else cut();
  await eventually(async () => ((await ask(client, 'GetRun')).writers_connected < before ? true : undefined));
}

describe('a writer whose stream broke in a step', () => {
  test.each([
    [16, 'was reset'],
    [64, 'was cut'],
    [112, 'was reset'],
    [160, 'was cut'],
    [192, 'was reset'],
  ])('goes on from byte %i with other cuts when it %s, nothing is sent twice', async (bytes, how) => {
    const server = await serve({ reconnectGraceMs: 60_000 });
    const client = rawClient(server);
    const newUpload = async (): Promise<Upload> => (how === 'was cut' ? await uploadOn(server) : new Upload(client));
    const generation = await openWorld(client);
    const naive = new NaiveEma(TENSORS);
    let upload = (await newUpload()).open(generation);
    for (const step of [1, 2, 3]) {
      await upload.opened();
      const data = whole(step);
      await breakAt(client, upload, step, bytes, data);
      upload = (await newUpload()).open(generation, { takeover: true });
      expect(await upload.opened()).toMatchObject({ step, received_bytes: bytes, whole: false, step_bytes: 192 });
      for (let at = bytes; at < data.length; at += 48) upload.chunk(step, at, data.subarray(at, at + 48));
      expect(await upload.commit(step, data.length).ack()).toMatchObject({ step, state: 'COMMITTED' });
      expect((await read(client)).bytes).toEqual(naive.fold(valuesOf(step)).bytes);
      await breakNow(client, upload);
      upload = (await newUpload()).open(generation, { takeover: true });
    }
    expect(await upload.opened()).not.toHaveProperty('step');
    expect(await ask(client, 'GetRun')).toMatchObject({ bytes_received: 3 * 192, commits: 3 });
    // The step that came in pieces over two streams has the same digest as the whole step.
    expect(await upload.push(3, whole(3)).ack()).toMatchObject({ step: 3, state: 'ALREADY_COMMITTED' });
  });

  test('begins it again at 0, and what it had sent before does not count', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000 }));
    const generation = await openWorld(client);
    const naive = new NaiveEma(TENSORS);
    for (const step of [1, 2, 3]) {
      const upload = new Upload(client).open(generation, { takeover: true });
      await upload.opened();
      await breakAt(client, upload, step, 96, Buffer.alloc(192, 0xff));
      const again = new Upload(client).open(generation, { takeover: true });
      expect(await again.opened()).toMatchObject({ step, received_bytes: 96 });
      expect(await again.push(step, whole(step)).ack()).toMatchObject({ step, state: 'COMMITTED', detail: '' });
      expect((await read(client)).bytes).toEqual(naive.fold(valuesOf(step)).bytes);
      await breakNow(client, again);
    }
    expect((await ask(client, 'GetRun')).non_finite_steps, 'the bytes before were NaN').toBe(0);
  });

  test('a value that is not finite is remembered over the break', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000 }));
    const generation = await openWorld(client);
    const data = partOf(TENSORS, ALL, (_, index) => (index === 3 ? Number.POSITIVE_INFINITY : index));
    const upload = new Upload(client).open(generation);
    await breakAt(client, upload, 1, 64, data);
    const again = new Upload(client).open(generation, { takeover: true });
    again.chunk(1, 64, data.subarray(64)).commit(1, 192);
    expect(await again.ack()).toMatchObject({ step: 1, state: 'REJECTED', detail: expect.stringMatching(/"w"/) });
  });

  test('may go on nowhere else, and begins again with its first chunk or not at all', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000 }));
    const generation = await openWorld(client);
    await breakAt(client, new Upload(client).open(generation), 1, 64, whole(1));
    const back = async (offset: number): Promise<Upload> => {
      const upload = new Upload(client).open(generation, { takeover: true });
      expect(await upload.opened()).toMatchObject({ step: 1, received_bytes: 64 });
      return upload.chunk(1, offset, whole(1).subarray(offset, offset + 32));
    };
    await expectError(
      (await back(80)).failure(),
      'INVALID_ARGUMENT',
      'CHUNK_GAP',
      /^chunk of step 1 at offset 80 with 32 bytes leaves a gap, 64 bytes have arrived$/,
    );
    await expectError(
      (await back(32)).failure(),
      'INVALID_ARGUMENT',
      'CHUNK_OVERLAP',
      /^chunk of step 1 at offset 32 with 32 bytes overlaps, 64 bytes have arrived$/,
    );
    await expectError(
      (await back(64)).chunk(1, 0, whole(1)).failure(),
      'INVALID_ARGUMENT',
      'CHUNK_OVERLAP',
      /^chunk of step 1 at offset 0 with 192 bytes overlaps, 96 bytes have arrived$/,
    );
  });

  test('may leave the step for the next one', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000 }));
    const generation = await openWorld(client);
    await breakAt(client, new Upload(client).open(generation), 4, 64, Buffer.alloc(192, 0xff));
    const upload = new Upload(client).open(generation, { takeover: true });
    expect(await upload.push(5, whole(5)).ack()).toMatchObject({ step: 5, state: 'COMMITTED' });
    expect((await read(client)).bytes).toEqual(whole(5).subarray(0, 192));
    expect(await ask(client, 'GetRun')).toMatchObject({ staging_bytes: 0, committed_step: 5 });
  });

  test('leaves nothing after the grace', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 80 }));
    const generation = await openWorld(client);
    const first = new Upload(client).open(generation).push(1, whole(1));
    await first.ack();
    await first.end();
    const before = await pictureOf(client);
    await breakAt(client, new Upload(client).open(generation), 2, 64, whole(2));
    expect((await ask(client, 'GetRun')).staging_bytes, 'kept for a while').toBe(64);
    await eventually(async () => ((await ask(client, 'GetRun')).memory!.staging_bytes === 0 ? true : undefined));
    expect(await pictureOf(client)).toEqual(before);
    const upload = new Upload(client).open(generation, { takeover: true });
    const opened = await upload.opened();
    expect(opened).toMatchObject({ received_bytes: 0, whole: false, committed_step: 1 });
    expect(opened).not.toHaveProperty('step');
  });

  test('what is kept is there for the whole grace of its last stream', async () => {
    // The grace is long enough for a busy machine to open the second stream within it.
    const reconnectGraceMs = 5_000;
    const client = rawClient(await serve({ reconnectGraceMs }));
    const generation = await openWorld(client);
    await breakAt(client, new Upload(client).open(generation), 1, 64, whole(1));
    const graceOver = new Promise((resolve) => setTimeout(resolve, reconnectGraceMs + 500));
    const second = new Upload(client).open(generation, { takeover: true });
    await second.opened();
    // The second stream has taken over the bytes, so the end of the first stream's grace must not drop them.
    await graceOver;
    expect((await ask(client, 'GetRun')).staging_bytes).toBe(64);
    second.chunk(1, 64, whole(1).subarray(64)).commit(1, 192);
    expect(await second.ack()).toMatchObject({ step: 1, state: 'COMMITTED' });
  });
});

describe('a writer of several whose stream broke', () => {
  test('gets the acks of what it had sent whole on its new stream, once', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000 }));
    const generation = await openWorld(client, 2);
    const [first, other] = (await openCrew(client, generation, TWO)) as [Upload, Upload];
    first.push(1, part(0, 1));
    other.push(1, part(1, 1));
    await Promise.all([first.ack(), other.ack()]);
    first.push(2, part(0, 2));
    await eventually(async () => ((await ask(client, 'GetRun')).writer_states[0]?.step === 2 ? true : undefined));
    await breakNow(client, first);
    const second = new Upload(client).open(generation, { writer: 0, boxes: TWO[0], takeover: true });
    expect(await second.opened()).toMatchObject({ step: 2, received_bytes: 0, whole: true, committed_step: 1 });
    // The stream breaks in the next step. The service names the newest step only, because those before it are whole.
    await breakAt(client, second, 3, 80, part(0, 3));
    const third = new Upload(client).open(generation, { writer: 0, boxes: TWO[0], takeover: true });
    expect(await third.opened()).toMatchObject({ step: 3, received_bytes: 80, whole: false });
    third.chunk(3, 80, part(0, 3).subarray(80)).commit(3, 128);
    await eventually(async () => ((await ask(client, 'GetRun')).writer_states[0]?.step === 3 ? true : undefined));
    await breakNow(client, third);
    const fourth = new Upload(client).open(generation, { writer: 0, boxes: TWO[0], takeover: true });
    expect(await fourth.opened()).toMatchObject({ step: 3, received_bytes: 0, whole: true });
    for (const step of [2, 3]) other.push(step, part(1, step));
    fourth.push(4, part(0, 4));
    other.push(4, part(1, 4));
    const naive = new NaiveEma(TENSORS).fold(valuesOf(1));
    for (const step of [2, 3, 4]) {
      expect([await fourth.ack(), await other.ack()]).toMatchObject(Array(2).fill({ step, state: 'COMMITTED' }));
      naive.fold(valuesOf(step));
    }
    expect(fourth.answerCount, 'each once').toBe(0);
    expect((await read(client)).bytes).toEqual(naive.bytes);
    expect(await ask(client, 'GetRun')).toMatchObject({ commits: 4, bytes_received: 4 * (128 + 64) });
  });

  test('finds its step dropped when the others have waited too long, whatever its grace is', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000, stepTimeoutMs: 1_000 }));
    const generation = await openWorld(client, 2);
    const [first, other] = (await openCrew(client, generation, TWO)) as [Upload, Upload];
    other.push(1, part(1, 1));
    await breakAt(client, first, 1, 64, part(0, 1));
    expect(await other.ack()).toMatchObject({ step: 1, state: 'DROPPED' });
    const back = new Upload(client).open(generation, { writer: 0, boxes: TWO[0], takeover: true });
    const opened = await back.opened();
    expect(opened).not.toHaveProperty('step');
    expect(opened).toMatchObject({ received_bytes: 0, whole: false });
    back.push(1, part(0, 1)).push(2, part(0, 2));
    other.push(2, part(1, 2));
    expect([await back.ack(), await back.ack(), await other.ack()]).toMatchObject([
      { step: 1, state: 'DROPPED' },
      { step: 2, state: 'COMMITTED' },
      { step: 2, state: 'COMMITTED' },
    ]);
  });

  test('may declare its boxes again and no others, also while nobody else is there', async () => {
    const server = await serve({ reconnectGraceMs: 60_000 });
    const client = rawClient(server);
    const generation = await openWorld(client, 2);
    const crew = await Promise.all(TWO.map(() => uploadOn(server)));
    for (const [writer, upload] of crew.entries()) upload.open(generation, { writer, boxes: TWO[writer] });
    for (const upload of crew) await upload.opened();
    for (const upload of crew) await breakNow(client, upload);
    await expectError(
      new Upload(client).open(generation, { writer: 0, boxes: TWO[1], takeover: true }).failure(),
      'FAILED_PRECONDITION',
      'BOXES_CHANGED',
      /^writer 0 of run "r" declares other boxes than before in this generation/,
    );
    const back = new Upload(client).open(generation, { writer: 0, boxes: TWO[0] });
    expect(await back.opened(), 'the others are known').toMatchObject({ step_bytes: 128 });
  });
});

test('a writer whose old connection hangs takes its place, and goes on from what has arrived', async () => {
  const server = await serve({ reconnectGraceMs: 60_000 });
  const client = rawClient(server);
  const generation = await openWorld(client);
  const hanging = new BareCall(server.port, 'Update')
    .send(updateFrame({ open: { run: 'r', generation } }))
    .send(updateFrame({ chunk: { step: 1, offset: 0, data: whole(1).subarray(0, 128) } }));
  await eventually(async () => ((await ask(client, 'GetRun')).staging_bytes === 128 ? true : undefined));
  await expectError(
    new Upload(client).open(generation).failure(),
    'FAILED_PRECONDITION',
    'WRITER_BUSY',
    /^writer 0 of run "r" already has a stream$/,
  );
  const upload = new Upload(client).open(generation, { takeover: true });
  expect(await upload.opened()).toMatchObject({ step: 1, received_bytes: 128 });
  expect(await hanging.closed()).toMatchObject({ status: ABORTED });
  // What the old stream had on its way comes too late.
  hanging.send(updateFrame({ chunk: { step: 1, offset: 128, data: Buffer.alloc(64, 0xff) } }));
  upload.chunk(1, 128, whole(1).subarray(128)).commit(1, 192);
  expect(await upload.ack()).toMatchObject({ step: 1, state: 'COMMITTED' });
  expect((await read(client)).bytes).toEqual(whole(1));
  hanging.kill();
});
