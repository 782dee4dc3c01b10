import { beforeEach, describe, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../../src/protocol/index.js';
import { stalledReader } from '../bare-http2.js';
import { expectError, pictureOf } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, f32Values, read } from '../read.js';
import { Upload } from '../upload.js';

/** A run with a tensor so long that a reader with a small window does not get all of it. */
const LONG = { ...SMALL, tensors: [{ name: 'w', dtype: 'F32' as const, shape: [400] }] };
const stepOf = (value: number): Buffer => f32Space(new Array(400).fill(value));

let client: ShadowWeightsClient;
let port: number;
let upload: Upload;

beforeEach(async () => {
  const server = await serve({ readLeaseMs: 60_000 });
  port = server.port;
  client = rawClient(server);
  upload = new Upload(client).open((await openRun(client, LONG)).generation);
});

const add = (average: object, run = 'r') => ask(client, 'AddAverage', { run, average });

async function push(step: number, value = step): Promise<void> {
  expect((await upload.push(step, stepOf(value)).ack()).state).toBe('COMMITTED');
}

async function shadowOf(average: string): Promise<number | undefined> {
  return f32Values((await read(client, { average })).bytes, 1)[0];
}

describe('AddAverage', () => {
  test('the average starts with the next step, and says so; the others go on', async () => {
    for (const step of [1, 2, 3]) await push(step);
    expect((await add({ name: 'mean', start: 'FIRST', mean: {} })).added_at_step).toBe(3);
    expect((await ask(client, 'GetRun')).averages.map(({ name }) => name)).toEqual(['ema', 'mean']);
    for (const step of [4, 8]) await push(step);
    expect(await shadowOf('mean'), 'of 4 and 8').toBe(6);
    expect(await shadowOf('ema'), '1, 1.5, 2.25, 3.125').toBe((3.125 + 8) / 2);
    expect((await ask(client, 'GetRun')).states).toMatchObject([
      { name: 'ema', num_updates: 5 },
      { name: 'mean', num_updates: 2, weight: 0.5, added_at_step: 3 },
    ]);
    expect((await ask(client, 'GetRun')).states[0]).not.toHaveProperty('added_at_step');
  });

  test('before the first commit it is as one that the run was opened with', async () => {
    expect(await add({ name: 'other', start: 'INITIAL', constant: { decay: 0.75 } })).toEqual({});
    const initial = upload.push(0, stepOf(8), { initial: true });
    expect((await initial.ack()).state).toBe('COMMITTED');
    await push(1, 4);
    expect(await shadowOf('other')).toBe(7);
    expect((await ask(client, 'GetRun')).states[1]).not.toHaveProperty('added_at_step');
  });

  test('time of one that counts steps begins where it is added', async () => {
    await push(100);
    await add({ name: 'steps', start: 'FIRST', power_function: { gamma: 1 }, decay_unit: 'PER_STEP' });
    await push(110, 1);
    await push(120, 2);
    // The fold at t = 20, 10 steps after the last one, has w = 1 − (1 − 10 / 20)².
    expect((await read(client, { average: 'steps' })).header).toMatchObject({ num_updates: 2, weight: 0.75 });
    expect(await shadowOf('steps')).toBe(1.75);
  });

  test('it may take some of the tensors, in its own precision', async () => {
    const tensors = ['enc.w', 'enc.b', 'dec.w'].map((name) => ({ name, dtype: 'F32' as const, shape: [4] }));
    const { generation } = await openRun(client, { ...SMALL, run: 'three', tensors });
    const other = new Upload(client).open(generation, { run: 'three' });
    await add(
      { name: 'enc', start: 'FIRST', mean: {}, precision: 'F64', include: ['enc.*'], exclude: ['*.b'] },
      'three',
    );
    await other.push(1, f32Space([1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3])).ack();
    const { header, bytes } = await read(client, { run: 'three', average: 'enc' });
    const whole = { box_offset: [], global_shape: [] };
    expect(header.tensors).toEqual([{ name: 'enc.w', dtype: 'F64', shape: [4], offset: 0, averaged: true, ...whole }]);
    expect(bytes.readDoubleLE(24)).toBe(1);
  });

  test('until its first update it has nothing to read, which can be waited for', async () => {
    await push(1);
    await add({ name: 'mean', start: 'FIRST', mean: {} });
    const empty = /^run "r": the average has had no update since it was added$/;
    await expectError(read(client, { average: 'mean' }), 'FAILED_PRECONDITION', 'NOTHING_COMMITTED', empty);
    const waiting = read(client, { average: 'mean', wait_ms: 60_000 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await push(2);
    expect((await waiting).header).toMatchObject({ step: 2, num_updates: 1, weight: 1 });
  });

  test('while a reader holds a version from before it, the same', async () => {
    await push(1);
    const reader = stalledReader(port, { run: 'r', average: 'ema', chunk_bytes: 16 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await add({ name: 'mean', start: 'FIRST', mean: {} });
    await expectError(
      read(client, { average: 'mean' }),
      'FAILED_PRECONDITION',
      'NOTHING_COMMITTED',
      /^run "r": the average has had no update since it was added$/,
    );
    for (const wish of [{ step: 1 }, { min_step: 1 }]) {
      await expectError(
        read(client, { average: 'mean', wait_ms: 10, ...wish }),
        'DEADLINE_EXCEEDED',
        'WAIT_TIMEOUT',
        /^run "r": waited 10 ms for step 1, the newest is 1$/,
      );
    }
    await push(2);
    expect((await read(client, { average: 'mean', min_step: 1 })).header.step).toBe(2);
    reader.kill();
  });

  test('one that takes the name of another that was removed has nothing of it', async () => {
    await push(1);
    await add({ name: 'mean', start: 'FIRST', mean: {} });
    await push(2);
    const reader = stalledReader(port, { run: 'r', average: 'mean', chunk_bytes: 16 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await ask(client, 'RemoveAverage', { run: 'r', average: 'mean' });
    await add({ name: 'mean', start: 'FIRST', mean: {} });
    await expectError(
      read(client, { average: 'mean' }),
      'FAILED_PRECONDITION',
      'NOTHING_COMMITTED',
      /^run "r": the average has had no update since it was added$/,
    );
    reader.kill();
  });

  test('a name that is taken, and a start that has passed, are refused and change nothing', async () => {
    await push(1);
    await upload.end();
    const before = await pictureOf(client);
    await expectError(
      add({ name: 'ema', start: 'FIRST', mean: {} }),
      'INVALID_ARGUMENT',
      'INVALID_AVERAGE',
      /^average\.name "ema" is taken in run "r"$/,
    );
    const metadata = await expectError(
      add({ name: 'late', start: 'INITIAL', mean: {} }),
      'FAILED_PRECONDITION',
      'INITIAL_TOO_LATE',
      /^average "late" starts from INITIAL, run "r" has committed step 1/,
    );
    expect(metadata).toEqual({ average: 'late' });
    expect(await pictureOf(client)).toEqual(before);
  });

  test('one that does not fit into the memory is refused and takes none', async () => {
    const small = rawClient(await serve({ memoryBytes: 64 << 20 }));
    // The run has 20 MiB of shadow and 20 MiB of a step. Another 40 MiB do not fit.
    await openRun(small, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [5 << 20] }] });
    const before = await pictureOf(small);
    await expectError(
      ask(small, 'AddAverage', { run: 'r', average: { name: 'wide', start: 'FIRST', mean: {}, precision: 'F64' } }),
      'RESOURCE_EXHAUSTED',
      'MEMORY_EXHAUSTED',
      / of run "r" .*needs \d+ bytes, \d+ of the server's 100663296 are free$/,
    );
    expect(await pictureOf(small)).toEqual(before);
  });

  test('power functions and snapshots of them stay within what one combination solves', async () => {
    const power = (gamma: number) => ({ name: `p${gamma}`, start: 'FIRST', power_function: { gamma } }) as const;
    const snapshots = { every_steps: 1, count_max: 100 };
    await openRun(client, { ...SMALL, run: 'post-hoc', averages: [power(1)], snapshots });
    await add(power(2), 'post-hoc');
    await expectError(
      add(power(3), 'post-hoc'),
      'INVALID_ARGUMENT',
      'INVALID_AVERAGE',
      /^average would be power function 3 of run "post-hoc": with 100 snapshots each at most 256 fit$/,
    );
    expect(await add({ name: 'another kind', start: 'FIRST', mean: {} }, 'post-hoc').catch(() => 'name')).toBe('name');
    expect(await add({ name: 'mean', start: 'FIRST', mean: {} }, 'post-hoc')).toEqual({});
  });

  test('in the middle of a stream of steps each is added at the step that it says', async () => {
    const steps = Array.from({ length: 60 }, (_, index) => index + 1);
    for (const step of steps) upload.push(step, stepOf(step));
    const added: { name: string; added_at_step: number | undefined }[] = [];
    for (let index = 0; index < 10; index++) {
      const name = `e${index}`;
      const { added_at_step } = await add({ name, start: 'FIRST', mean: {} });
      added.push({ name, added_at_step });
    }
    for (const step of steps) expect((await upload.ack()).step).toBe(step);
    const { states, committed_step } = await ask(client, 'GetRun');
    for (const { name, added_at_step } of added) {
      const state = states.find((found) => found.name === name);
      expect(state?.added_at_step, name).toBe(added_at_step);
      expect(state?.num_updates, name).toBe(Number(committed_step) - (added_at_step ?? 0));
    }
  });

  test('to a run that is deleted while it waits for a fold: refused, and the ledger is what it was', async () => {
    const budgetFree = async () => (await ask(client, 'GetRun')).memory?.budget_free_bytes;
    const before = await budgetFree();
    const elements = 1 << 20;
    const mib = Buffer.alloc(1 << 20);
    for (let round = 0; round < 4; round++) {
      const tensors = [{ name: 'w', dtype: 'F32' as const, shape: [elements] }];
      const { generation } = await openRun(client, { ...SMALL, run: 'large', tensors });
      const large = new Upload(client).open(generation, { run: 'large' });
      await large.next();
      const ended = large.failure().catch((error) => error.details);
      for (let at = 0; at < elements * 4; at += mib.length) large.chunk(1, at, mib);
      large.commit(1, elements * 4);
      const added = add({ name: 'late', start: 'FIRST', mean: {} }, 'large').then(
        () => 'added',
        (error) => error.details,
      );
      for (let turn = 0; turn < round * 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      await ask(client, 'DeleteRun', { run: 'large' });
      expect(['added', 'run "large" was deleted', 'run "large" does not exist']).toContain(await added);
      expect(await ended).toBe('run "large" was deleted');
      expect(await budgetFree()).toBe(before);
    }
  });

  test('an unknown run', async () => {
    await expectError(
      add({ name: 'a', start: 'FIRST', mean: {} }, 'nope'),
      'NOT_FOUND',
      'RUN_NOT_FOUND',
      /^run "nope" does not exist$/,
    );
  });
});
