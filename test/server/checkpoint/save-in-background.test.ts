import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { OpenRunRequest } from '../../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { canSetImmutable, setImmutable } from '../../storage/refusing-disk.js';
import { expectError } from '../expect-error.js';
import { ask, openRun, rawClient, serve } from '../harness.js';
import { newDataDir } from '../lives.js';
import { read } from '../read.js';
import { logLines, startServerProcess } from '../server-process.js';
import { Upload } from '../upload.js';

const COUNT = 1 << 18;
const immutable = canSetImmutable();

/** Two averages, so that a checkpoint has several parts; a copied tensor that is another one in each step. */
const RUN: OpenRunRequest = {
  run: 'r',
  incarnation: 'a',
  tensors: [
    { name: 'w', dtype: 'F32', shape: [COUNT - 16] },
    { name: 'n', dtype: 'I64', shape: [8] },
  ],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.9 } },
    { name: 'mean', start: 'FIRST', mean: {} },
  ],
};

/** The weights of a step: others at each step, and in each element. */
function stepOf(step: number, count = COUNT): Buffer {
  const space = new Float32Array(count);
  for (let index = 0; index < count; index++) space[index] = Math.fround(Math.sin(step * 0.7 + index));
  return Buffer.from(space.buffer);
}

async function push(upload: Upload, step: number): Promise<number | undefined> {
  const { state, durable_step } = await upload.push(step, stepOf(step)).ack();
  expect(state).toBe('COMMITTED');
  return durable_step === undefined ? undefined : Number(durable_step);
}

async function startUpload(client: ShadowWeightsClient, incarnation = 'a'): Promise<Upload> {
  const { generation } = await openRun(client, { ...RUN, incarnation });
  const upload = new Upload(client).open(generation);
  await upload.opened();
  return upload;
}

/** Both averages at a step, as a server has them that has taken all steps up to it. */
async function readBoth(client: ShadowWeightsClient, step: number): Promise<Buffer[]> {
  const averages = ['ema', 'mean'].map(async (average) => (await read(client, { average, step })).bytes);
  return await Promise.all(averages);
}

/** A server that has taken the steps up to one of them, and was never killed. */
async function undisturbed(through: number): Promise<ShadowWeightsClient> {
  const client = rawClient(await serve());
  const upload = await startUpload(client);
  for (let step = 1; step <= through; step++) await push(upload, step);
  return client;
}

const CONTINUOUSLY = { checkpointIntervalMs: 1 };

test('a killed server has what was durable or more, to the bit, and goes on', { timeout: 300_000 }, async () => {
  const dataDir = await newDataDir();
  let durable = 0;
  let committed = 0;
  for (let round = 0; round < 6; round++) {
    const flags = ['--checkpoint-every', '20ms', '--log-level', 'error'];
    const server = await startServerProcess(dataDir, 0, flags);
    onTestFinished(async () => await server.kill());
    const client = rawClient(server);
    const upload = await startUpload(client);
    const restored = Number((await ask(client, 'GetRun')).committed_step ?? 0);
    expect(restored).toBeGreaterThanOrEqual(durable);
    expect(restored).toBeLessThanOrEqual(committed);
    if (restored > 0) {
      const [found, expected] = await Promise.all([
        readBoth(client, restored),
        readBoth(await undisturbed(restored), restored),
      ]);
      expect(found.map((bytes, index) => bytes.equals(expected[index]!))).toEqual([true, true]);
    }
    // Until something of this round is durable, and a few steps more.
    committed = restored;
    for (let rest = round; durable <= restored || rest > 0; rest -= durable > restored ? 1 : 0) {
      committed += 1;
      durable = (await push(upload, committed)) ?? durable;
    }
    await server.kill();
  }
});

test('a trainer that was fenced stays fenced over a kill, though the checkpoint is older', async () => {
  const dataDir = await newDataDir();
  const first = await startServerProcess(dataDir, 0, ['--checkpoint-every', '20ms', '--log-level', 'error']);
  onTestFinished(async () => await first.kill());
  const client = rawClient(first);
  const { generation } = await openRun(client, RUN);
  const upload = await startUpload(client);
  for (let step = 1; (await push(upload, step)) === undefined; step++);
  await openRun(client, { ...RUN, incarnation: 'b' });
  await first.kill();
  const second = await startServerProcess(dataDir);
  onTestFinished(async () => await second.kill());
  const late = new Upload(rawClient(second)).open(generation);
  await expectError(late.failure(), 'ABORTED', 'GENERATION_FENCED', /was fenced/);
});

test('a run that is deleted while it is written does not come back', async () => {
  const dataDir = await newDataDir();
  const server = await serve({ ...CONTINUOUSLY, dataDir });
  const client = rawClient(server);
  for (let round = 0; round < 8; round++) {
    const upload = await startUpload(client);
    for (let step = 1; step <= 2 + round; step++) await push(upload, step);
    await ask(client, 'DeleteRun');
    expect(await readdir(dataDir)).not.toContain('r');
  }
  await server.stop();
  expect((await readdir(dataDir)).filter((name) => !name.startsWith('.'))).toEqual([]);
});

test('where memory is short, a step takes that of the version that is written', { timeout: 300_000 }, async () => {
  const dataDir = await newDataDir();
  // Shadows of 32 MiB and a step of 16 fit; the pages that a reader holds, another 32, do not.
  const [count, options] = [4 << 20, { memoryBytes: 64 << 20 }];
  const request = { ...RUN, tensors: [{ name: 'w', dtype: 'F32' as const, shape: [count] }] };
  const server = await serve({ ...CONTINUOUSLY, ...options, dataDir });
  const peer = await serve();
  const uploads = await Promise.all(
    [server, peer].map(async (each) => {
      const client = rawClient(each);
      const { generation } = await openRun(client, request);
      return new Upload(client).open(generation);
    }),
  );
  for (let step = 1; step <= 12; step++) {
    const bytes = stepOf(step, count);
    for (const upload of uploads) {
      for (let offset = 0; offset < bytes.length; offset += 1 << 20) {
        upload.chunk(step, offset, bytes.subarray(offset, offset + (1 << 20)));
      }
      expect(await upload.commit(step, bytes.length).ack()).toMatchObject({ state: 'COMMITTED' });
    }
  }
  await server.stop();
  const next = await serve({ dataDir, ...options });
  expect(next.loaded).toEqual([{ run: 'r', step: 12 }]);
  const [found, expected] = await Promise.all([next, peer].map((each) => readBoth(rawClient(each), 12)));
  expect(found!.map((bytes, index) => bytes.equals(expected![index]!))).toEqual([true, true]);
});

test('after a rewind nothing is durable until the run is written again', async () => {
  const dataDir = await newDataDir();
  const server = await serve({ ...CONTINUOUSLY, dataDir });
  const client = rawClient(server);
  await openRun(client, { ...RUN, retain: { every_steps: 1, count_max: 4 } });
  const upload = await startUpload(client);
  let step = 1;
  while (((await push(upload, step)) ?? 0) < 3) step += 1;
  const { generation } = await openRun(client, { ...RUN, incarnation: 'b', resume_step: step - 1 });
  const next = new Upload(client).open(generation);
  for (let ahead = step; ahead < step + 5; ahead++) expect((await push(next, ahead)) ?? 0).toBeLessThanOrEqual(ahead);
  await server.stop();
  const again = await serve({ dataDir });
  expect(again.loaded).toEqual([{ run: 'r', step: step + 4 }]);
  const found = await readBoth(rawClient(again), step + 4);
  const expected = await readBoth(await undisturbed(step + 4), step + 4);
  expect(found.map((bytes, index) => bytes.equals(expected[index]!))).toEqual([true, true]);
});

test('without an interval nothing is written before the stop', async () => {
  const dataDir = await newDataDir();
  const server = await serve({ dataDir, checkpointIntervalMs: 0 });
  const upload = await startUpload(rawClient(server));
  for (let step = 1; step <= 3; step++) expect(await push(upload, step)).toBeUndefined();
  expect(await readdir(dataDir)).not.toContain('r');
  await server.stop();
  expect((await serve({ dataDir })).loaded).toEqual([{ run: 'r', step: 3 }]);
});

test('a run with too many tensors is written at the stop only, and the log says so', async () => {
  const dataDir = await newDataDir();
  const server = await startServerProcess(dataDir, 0, ['--checkpoint-every', '5ms']);
  onTestFinished(async () => await server.kill());
  const client = rawClient(server);
  const tensors = Array.from({ length: 4_097 }, (_, index) => ({
    name: `t${index}`,
    dtype: 'F32' as const,
    shape: [1],
  }));
  const { generation } = await openRun(client, { ...RUN, tensors, averages: RUN.averages!.slice(0, 1) });
  const upload = new Upload(client).open(generation);
  for (let step = 1; step <= 3; step++) {
    const { durable_step } = await upload.push(step, Buffer.alloc(64 * tensors.length)).ack();
    expect(durable_step).toBeUndefined();
  }
  const told = () => logLines(server).filter(({ msg }) => String(msg).startsWith('run has too many tensors'));
  await expect.poll(told, { timeout: 60_000 }).toMatchObject([{ run: 'r', entries: 8_194, entriesMax: 8_192 }]);
  expect(await server.stop()).toBe(0);
  expect((await serve({ dataDir })).loaded).toEqual([{ run: 'r', step: 3 }]);
});

test.skipIf(!immutable.isAble)(
  `a disk that refuses stops no training, and is tried again${immutable.note}`,
  { timeout: 120_000 },
  async () => {
    const dataDir = await newDataDir();
    const server = await startServerProcess(dataDir, 0, ['--checkpoint-every', '20ms']);
    onTestFinished(async () => await server.kill());
    const upload = await startUpload(rawClient(server));
    let step = 0;
    const pushUntil = async (isEnough: (durable: number | undefined) => boolean): Promise<void> => {
      do step += 1;
      while (!isEnough(await push(upload, step)));
    };
    await pushUntil((durable) => durable !== undefined);
    setImmutable(join(dataDir, 'r'), true);
    const told = (message: string) => logLines(server).filter(({ msg }) => String(msg).startsWith(message));
    await pushUntil(() => told('run not written').length > 0);
    const [problem] = told('run not written: its durable step stands still');
    expect(problem).toMatchObject({ run: 'r', err: { code: 'IO' } });
    const before = step;
    for (let more = 0; more < 5; more++) await pushUntil(() => true);
    setImmutable(join(dataDir, 'r'), false);
    await pushUntil((durable) => durable !== undefined && durable > before);
    expect(told('run not written')).toHaveLength(1);
    await expect.poll(() => told('run is written again').length, { timeout: 60_000 }).toBe(1);
  },
);
