import { describe, expect, test } from 'vitest';
import { averageEma, type OpenRunOptions, type RunHandle, type ShadowkeepClient } from '../../src/client/index.js';
import { asF32, connectTo, f32, failureOf } from '../client/support.js';
import { expectError } from './expect-error.js';
import { ask, openRun, rawClient, SMALL, serveReal } from './harness.js';
import { newDataDir } from './lives.js';
import { f32Space, f32Values, read } from './read.js';
import { type ServerProcess, startServerProcess } from './server-process.js';
import { Upload } from './upload.js';

/*
 * An old trainer that was away wakes up when a newer trainer has the run. Whatever has happened to the server meanwhile, the
 * old trainer ends with an error that says so, and the newer trainer goes on undisturbed:
 *
 *   old    ── 76 ┐ (paused)                        ┌ 77 ✗
 *   server ──────┴── killed, stopped, deleted … ───┴────────
 *   new                      OpenRun ── 192 ─────────── 193 ✓
 */

const TIMEOUT_MS = 120_000;

const RUN = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [4] }],
  averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' })],
} as const satisfies OpenRunOptions;

async function open(client: ShadowkeepClient, incarnation: string): Promise<RunHandle> {
  return await client.openRun({ ...RUN, incarnation });
}

async function push(run: RunHandle, step: number, value = step): Promise<unknown> {
  return (await run.update(step, { w: f32(value, value, value, value) })).state;
}

const shadowOf = async (client: ShadowkeepClient): Promise<unknown> => {
  const { step, numUpdates, tensors } = await client.getShadow({ run: 'r' });
  return { step, numUpdates, w: asF32(tensors.get('w')?.data) };
};

const connectToProcess = ({ port }: ServerProcess): ShadowkeepClient => connectTo(`127.0.0.1:${port}`);

describe('an old trainer that wakes on a server that was killed', { timeout: TIMEOUT_MS }, () => {
  test.for([1, 2])('and has lost the run, %i times: it ends, the newer one goes on', async (kills) => {
    const dataDir = await newDataDir();
    let server = await startServerProcess(dataDir);
    const old = await open(connectToProcess(server), 'old');
    expect(await push(old, 76)).toBe('COMMITTED');
    for (let kill = 0; kill < kills; kill++) {
      await server.kill();
      server = await startServerProcess(dataDir, server.port);
      // Another trainer opens the run in between; the second kill ends it.
      if (kill + 1 < kills) await open(connectToProcess(server), 'between');
    }
    const client = connectToProcess(server);
    const young = await open(client, 'young');
    expect(young.generation).toBeGreaterThan(old.generation);
    expect(await push(young, 192)).toBe('COMMITTED');
    const before = await shadowOf(client);

    expect(await failureOf(push(old, 77, -999))).toMatchObject({ reason: 'GENERATION_FENCED', code: 'ABORTED' });
    expect(await shadowOf(client)).toEqual(before);
    expect(await push(young, 193)).toBe('COMMITTED');
    expect(await shadowOf(client)).toMatchObject({ step: 193, numUpdates: 2 });
    await young.close();
  });

  test('and has loaded a checkpoint of before the newer one came: the newer one is not the one that ends', async () => {
    const dataDir = await newDataDir();
    let server = await startServerProcess(dataDir);
    const old = await open(connectToProcess(server), 'old');
    expect(await push(old, 40)).toBe('COMMITTED');
    expect(await server.stop()).toBe(0);
    server = await startServerProcess(dataDir, server.port);
    expect(await push(old, 76), 'over a graceful restart it goes on').toBe('COMMITTED');
    const young = await open(connectToProcess(server), 'young');
    await server.kill();
    server = await startServerProcess(dataDir, server.port);
    const client = connectToProcess(server);
    // The checkpoint is of step 40 and of the old trainer. The newer trainer has no acknowledged steps that are lost.
    expect((await client.getRun('r')).generation).toBe(young.generation);
    expect((await open(client, 'young')).generation).toBe(young.generation);
    expect(await failureOf(push(old, 77, -999))).toMatchObject({ reason: 'GENERATION_FENCED' });
    expect(await failureOf(open(client, 'old'))).toMatchObject({ reason: 'GENERATION_FENCED' });
    expect(await shadowOf(client)).toMatchObject({ step: 40, w: [40, 40, 40, 40] });
  });

  test('neither names a life: the process that came last keeps the stream', async () => {
    const dataDir = await newDataDir();
    let server = await startServerProcess(dataDir);
    const first = await open(connectToProcess(server), '');
    expect(await push(first, 40)).toBe('COMMITTED');
    await server.stop();
    server = await startServerProcess(dataDir, server.port);
    // The stream of the first trainer broke with the stop, and the trainer has not come back since.
    const old = await open(connectToProcess(server), '');
    expect(await push(old, 76)).toBe('COMMITTED');
    await server.kill();
    server = await startServerProcess(dataDir, server.port);
    const client = connectToProcess(server);
    const young = await open(client, '');
    expect(young.generation, 'the same: of the checkpoint').toBe(old.generation);
    expect(await push(young, 192)).toBe('COMMITTED');
    expect(await failureOf(push(first, 193, -999))).toMatchObject({ reason: 'WRITER_BUSY' });
    expect(await push(young, 193)).toBe('COMMITTED');
    expect(await shadowOf(client)).toMatchObject({ step: 193, numUpdates: 3 });
    await young.close();
  });
});

describe('an old token, sent as it is', { timeout: TIMEOUT_MS }, () => {
  test.for([false, true])('after a kill, takeover %s: refused', async (takeover) => {
    const dataDir = await newDataDir();
    const first = await startServerProcess(dataDir);
    const { generation: old } = await openRun(rawClient(first), { ...SMALL, incarnation: 'old' });
    await first.kill();
    const second = await startServerProcess(dataDir);
    const client = rawClient(second);
    const { generation } = await openRun(client, { ...SMALL, incarnation: 'young' });
    const young = new Upload(client).open(generation);
    expect((await young.push(192, f32Space([1, 1, 1, 1])).ack()).state).toBe('COMMITTED');
    await expectError(
      new Upload(client)
        .open(old, { takeover })
        .push(193, f32Space([-999, -999, -999, -999]))
        .failure(),
      'ABORTED',
      'GENERATION_FENCED',
      new RegExp(`^generation ${old} of run "r" was fenced, ${generation} is open: `),
    );
    expect((await young.push(193, f32Space([1, 1, 1, 1])).ack()).state).toBe('COMMITTED');
  });

  test('after deletions: a run that was opened again under the name takes none of the old ones', async () => {
    const client = rawClient(await serveReal({ dataDir: await newDataDir() }));
    const issued: number[] = [];
    for (let round = 0; round < 5; round++) {
      const { generation, created } = await openRun(client, { ...SMALL, incarnation: round % 2 ? 'same' : `${round}` });
      expect(created).toBe(true);
      const upload = new Upload(client).open(generation);
      expect((await upload.push(1, f32Space([round, round, round, round])).ack()).state).toBe('COMMITTED');
      for (const old of issued) {
        for (const takeover of [false, true]) {
          await expectError(
            new Upload(client)
              .open(old, { takeover })
              .push(999, f32Space([-999, -999, -999, -999]))
              .failure(),
            'ABORTED',
            'GENERATION_FENCED',
            new RegExp(`^generation ${old} of run "r" was fenced, ${generation} is open: `),
          );
        }
      }
      await ask(client, 'AddAverage', { run: 'r', average: { name: 'late', start: 'FIRST', mean: {} } });
      expect((await upload.push(2, f32Space([round, round, round, round])).ack()).state).toBe('COMMITTED');
      expect(f32Values((await read(client, { average: 'ema' })).bytes, 4)).toEqual([round, round, round, round]);
      issued.push(generation);
      await ask(client, 'DeleteRun');
    }
    expect(issued, 'rising').toEqual([...new Set(issued)].sort((a, b) => a - b));
    expect(issued.every(Number.isSafeInteger)).toBe(true);
  });

  test('of the future: unknown, and the message says what it can be', async () => {
    const client = rawClient(await serveReal());
    const { generation } = await openRun(client, { ...SMALL, incarnation: 'a' });
    await expectError(
      new Upload(client).open(generation + 1, { takeover: true }).failure(),
      'FAILED_PRECONDITION',
      'GENERATION_UNKNOWN',
      /^run "r" has no generation \d+, \d+ is open: it is of another run of that name, or of another server$/,
    );
  });

  test('a rewind outlives a kill: the life that it undid stays fenced', async () => {
    const dataDir = await newDataDir();
    let server = await startServerProcess(dataDir);
    const retain = { every_steps: 1, count_max: 4 };
    let client = rawClient(server);
    const old = await openRun(client, { ...SMALL, incarnation: 'old', retain });
    const upload = new Upload(client).open(old.generation);
    for (const step of [1, 2]) await upload.push(step, f32Space([step, step, step, step])).ack();
    await server.stop();
    server = await startServerProcess(dataDir);
    client = rawClient(server);
    const again = new Upload(client).open(old.generation, { takeover: true });
    for (const step of [3, 4]) await again.push(step, f32Space([step, step, step, step])).ack();
    const young = await openRun(client, { ...SMALL, incarnation: 'young', retain, resume_step: 3 });
    expect(young).toMatchObject({ committed_step: 3 });
    await server.kill();
    client = rawClient(await startServerProcess(dataDir));
    expect(await ask(client, 'GetRun')).toMatchObject({ committed_step: 2, generation: young.generation });
    await expectError(
      new Upload(client).open(old.generation, { takeover: true }).failure(),
      'ABORTED',
      'GENERATION_FENCED',
      /was fenced/,
    );
    const back = new Upload(client).open(young.generation, { takeover: true });
    expect((await back.push(3, f32Space([9, 9, 9, 9])).ack()).state).toBe('COMMITTED');
  });
});
