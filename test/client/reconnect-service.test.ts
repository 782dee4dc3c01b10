import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { averageEma, averageMean, type OpenRunOptions, type RunHandle } from '../../src/client/index.js';
import { asF32, connectTo, eventually, f32, failureOf, startService } from './support.js';
import { TcpProxy } from './tcp-proxy.js';

/** A step has 12 MiB in four rows, and each row has three chunks. */
const ROWS = 4;
const ROW = 3 << 18;
const LARGE = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [ROWS, ROW] }],
  averages: [averageEma('e', { decay: 0.5, start: 'FIRST' })],
} as const satisfies OpenRunOptions;
const STEP_BYTES = 4 * ROWS * ROW;
const SMALL = {
  run: 's',
  tensors: [{ name: 'w', dtype: 'F32', shape: [4] }],
  averages: [averageMean('m')],
} as const satisfies OpenRunOptions;

/** The weights of a step. They differ everywhere, so that a byte at a wrong place shows. */
function weights(step: number): Float32Array {
  const values = new Float32Array(ROWS * ROW);
  for (let index = 0; index < values.length; index += 1) values[index] = index / 1024 + step;
  return values;
}

/** Starts a service behind a proxy that can cut connections, and a client that connects through it. */
async function startBehindProxy(options: Parameters<typeof startService>[0] = {}) {
  const { server, client: direct, target } = await startService({ memoryBytes: 512 << 20, ...options });
  const proxy = await TcpProxy.start(target);
  return { server, direct, proxy, client: connectTo(proxy.target) };
}

async function bytesOf(client: ReturnType<typeof connectTo>, run: string): Promise<Buffer> {
  const { data } = (await client.getShadow({ run })).tensors.get('w')!;
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

describe('a writer behind a connection that is cut', () => {
  test('twice inside a step sends the rest, and the run has what an unbroken one has', async () => {
    const { direct, proxy, client } = await startBehindProxy();
    const unbroken = await direct.openRun({ ...LARGE, run: 'unbroken' });
    const run = await client.openRun(LARGE);
    for (const step of [1, 2]) await unbroken.update(step, { w: weights(step) });
    await run.update(1, { w: weights(1) });
    const before = (await direct.getRun('r')).bytesReceived;
    expect(before).toBe(STEP_BYTES);
    proxy.cutAfterSent = STEP_BYTES + (5 << 20);
    proxy.onCut = () => {
      proxy.onCut = () => {};
      proxy.cutAfterSent = 3 << 20;
    };
    const pending = run.update(2, { w: weights(2) });
    expect((await pending).state).toBe('COMMITTED');
    expect(proxy.connections).toBe(3);
    // No byte that had arrived was sent again.
    expect((await direct.getRun('r')).bytesReceived - before).toBe(STEP_BYTES);
    await run.close();
    await unbroken.close();
    expect((await bytesOf(direct, 'r')).equals(await bytesOf(direct, 'unbroken'))).toBe(true);
    expect(await direct.getShadow({ run: 'r' })).toMatchObject({ step: 2, numUpdates: 2 });
  });

  test('of one among several comes back into the same step', async () => {
    const { direct, proxy, client } = await startBehindProxy();
    const boxes = [0, 1].map((half) => [{ tensor: 'w', offset: [2 * half, 0], extent: [2, ROW] }]);
    const open = (through: typeof client, writer: number) =>
      through.openRun({ ...LARGE, writers: 2, writer, boxes: boxes[writer] });
    const [steady, cut] = (await Promise.all([open(direct, 0), open(client, 1)])) as [RunHandle, RunHandle];
    const w = weights(1);
    proxy.cutAfterSent = 5 << 20;
    const acks = await Promise.all([steady.update(1, [w.subarray(0, 2 * ROW)]), cut.update(1, [w.subarray(2 * ROW)])]);
    expect(acks.map(({ state }) => state)).toEqual(['COMMITTED', 'COMMITTED']);
    expect(proxy.connections).toBe(2);
    expect((await bytesOf(direct, 'r')).equals(Buffer.from(w.buffer))).toBe(true);
    await Promise.all([steady.close(), cut.close()]);
  });

  test('before the ack of a step that waits for another writer hears of it on the new stream', async () => {
    const { direct, proxy, client } = await startBehindProxy();
    const boxes = [0, 1].map((half) => [{ tensor: 'w', offset: [2 * half], extent: [2] }]);
    const open = (through: typeof client, writer: number) =>
      through.openRun({ ...SMALL, writers: 2, writer, boxes: boxes[writer] });
    const [late, cut] = (await Promise.all([open(direct, 0), open(client, 1)])) as [RunHandle, RunHandle];
    // Before the first commit no writer may be ahead of the others.
    await Promise.all([late.update(1, [f32(1, 1)]), cut.update(1, [f32(1, 1)])]);
    const pending = [2, 3].map((step) => cut.update(step, [f32(step, step)]));
    await Promise.all(pending.map(({ sent }) => sent));
    await eventually(async () => (await direct.getRun('s')).writerStates[1]?.step).toBe(3);
    proxy.cut();
    await eventually(() => proxy.connections).toBe(2);
    await eventually(async () => (await direct.getRun('s')).writersConnected).toBe(2);
    for (const step of [2, 3]) await late.update(step, [f32(step, step)]);
    expect((await Promise.all(pending)).map(({ step, state }) => [step, state])).toEqual([
      [2, 'COMMITTED'],
      [3, 'COMMITTED'],
    ]);
    await Promise.all([late.close(), cut.close()]);
  });

  test('between two steps goes on with the next one', async () => {
    const { proxy, client } = await startBehindProxy();
    const run = await client.openRun(SMALL);
    await run.update(1, { w: f32(1, 1, 1, 1) });
    proxy.cut();
    expect((await run.update(2, { w: f32(2, 2, 2, 2) })).state).toBe('COMMITTED');
    await run.close();
  });

  test('gives up at its deadline, with the last failure', async () => {
    const { proxy, client } = await startBehindProxy();
    const run = await client.openRun({ ...SMALL, reconnect: { deadlineMs: 500 } });
    await run.update(1, { w: f32(1, 1, 1, 1) });
    proxy.isDown = true;
    proxy.cut();
    const failure = await failureOf(run.update(2, { w: f32(2, 2, 2, 2) }));
    expect(failure).toMatchObject({ name: 'ClientError', code: 'UNAVAILABLE', reason: undefined, permanent: false });
    expect(await failureOf(run.update(3, { w: f32(2, 2, 2, 2) }))).toBe(failure);
  });

  test('comes back when the way is there again', async () => {
    const { proxy, client } = await startBehindProxy();
    const run = await client.openRun(SMALL);
    proxy.isDown = true;
    proxy.cut();
    const pending = run.update(1, { w: f32(1, 1, 1, 1) });
    setTimeout(() => {
      proxy.isDown = false;
    }, 500);
    expect((await pending).state).toBe('COMMITTED');
    await run.close();
  });

  test('to a service that is started again goes on where that one stands', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'shadowkeep-client-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true }));
    const { server, proxy, client } = await startBehindProxy({ dataDir });
    const boxes = [0, 1].map((half) => [{ tensor: 'w', offset: [2 * half], extent: [2] }]);
    const runs = await Promise.all(
      boxes.map((own, writer) => client.openRun({ ...SMALL, writers: 2, writer, boxes: own })),
    );
    await Promise.all(runs.map((run) => run.update(1, [f32(1, 1)])));
    await server.stop();
    const pending = runs.map((run) => run.update(2, [f32(3, 3)]));
    const again = await startService({ dataDir });
    proxy.service = again.target;
    expect((await Promise.all(pending)).map(({ state }) => state)).toEqual(['COMMITTED', 'COMMITTED']);
    await Promise.all(runs.map((run) => run.close()));
    const { data } = (await again.client.getShadow({ run: 's' })).tensors.get('w')!;
    expect(asF32(data)).toEqual([2, 2, 2, 2]);
  });

  test('to a service that has lost acknowledged steps is told', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'shadowkeep-client-'));
    const copy = mkdtempSync(join(tmpdir(), 'shadowkeep-client-'));
    onTestFinished(() => [dataDir, copy].forEach((path) => void rmSync(path, { recursive: true })));
    const { server, proxy, client } = await startBehindProxy({ dataDir });
    const run = await client.openRun(SMALL);
    await run.update(1, { w: f32(1, 1, 1, 1) });
    await server.stop();
    cpSync(dataDir, copy, { recursive: true });
    const second = await startService({ dataDir });
    proxy.service = second.target;
    await run.update(2, { w: f32(1, 1, 1, 1) });
    await second.server.stop();
    proxy.service = (await startService({ dataDir: copy })).target;
    expect(await failureOf(run.update(3, { w: f32(1, 1, 1, 1) }))).toMatchObject({
      code: 'UNAVAILABLE',
      message: 'the service was started again and has lost acknowledged steps: it is at step 1, it was at step 2',
    });
  });

  test('whose place another stream has taken ends', async () => {
    const { direct, client } = await startBehindProxy();
    const run = await client.openRun({ ...SMALL, incarnation: 'a' });
    await run.update(1, { w: f32(1, 1, 1, 1) });
    const next = await direct.openRun({ ...SMALL, incarnation: 'b' });
    expect(await failureOf(run.update(2, { w: f32(2, 2, 2, 2) }))).toMatchObject({
      reason: 'GENERATION_FENCED',
      code: 'ABORTED',
    });
    await next.close();
  });
});

describe('a reader behind a connection that is cut', () => {
  const openLarge = async (behind: Awaited<ReturnType<typeof startBehindProxy>>, options = {}) => {
    const run = await behind.direct.openRun({ ...LARGE, ...options });
    await run.update(1, { w: weights(1) });
    // The connection breaks after the header and a part of the bytes.
    behind.proxy.cutAfterAnswered = 5 << 20;
    return run;
  };

  test('goes on where it was, in the version that it had', async () => {
    const behind = await startBehindProxy();
    const { proxy, client, direct } = behind;
    const run = await openLarge(behind, { retain: { everySteps: 1, countMax: 2 } });
    proxy.onCut = () => {
      proxy.isDown = true;
      run.update(2, { w: weights(2) }).then(() => {
        proxy.isDown = false;
      });
    };
    const read = await client.readShadow({ run: 'r' });
    const received: Uint8Array[] = [];
    let receivedBytes = 0;
    for await (const { offset, data } of read.chunks) {
      expect(offset).toBe(receivedBytes);
      received.push(data);
      receivedBytes += data.length;
    }
    expect(proxy.connections).toBe(2);
    expect(Buffer.concat(received).equals(Buffer.from(weights(1).buffer))).toBe(true);
    expect((await direct.getRun('r')).committedStep).toBe(2);
    await run.close();
  });

  test('fails with the service’s word when that version is gone', async () => {
    const behind = await startBehindProxy();
    const { proxy, client, direct } = behind;
    const run = await openLarge(behind);
    proxy.onCut = async () => {
      proxy.isDown = true;
      await eventually(async () => (await direct.getRun('r')).readersConnected).toBe(0);
      await run.update(2, { w: weights(2) });
      proxy.isDown = false;
    };
    expect(await failureOf(client.getShadow({ run: 'r' }))).toMatchObject({
      reason: 'VERSION_NOT_FOUND',
      code: 'NOT_FOUND',
    });
    await run.close();
  });

  test.each([{ deadlineMs: 300 }, false] as const)('fails with the last failure in the end: %j', async (reconnect) => {
    const behind = await startBehindProxy();
    const run = await openLarge(behind);
    behind.proxy.onCut = () => {
      behind.proxy.isDown = true;
    };
    expect(await failureOf(behind.client.getShadow({ run: 'r', reconnect }))).toMatchObject({
      code: 'UNAVAILABLE',
      reason: undefined,
      permanent: false,
    });
    expect(behind.proxy.connections).toBe(1);
    await run.close();
  });
});
