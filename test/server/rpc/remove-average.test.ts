import { beforeEach, describe, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../../src/protocol/index.js';
import { stalledReader } from '../bare-http2.js';
import { expectError, pictureOf } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, serve } from '../harness.js';
import { f32Space, f32Values, read } from '../read.js';
import { Upload } from '../upload.js';

const RUN = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [4_096] }],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.5 } },
    { name: 'power', start: 'FIRST', power_function: { gamma: 1 } },
    { name: 'power2', start: 'FIRST', power_function: { gamma: 2 } },
  ],
  snapshots: { every_steps: 1, count_max: 8 },
} as const;

let client: ShadowWeightsClient;
let port: number;
let upload: Upload;

beforeEach(async () => {
  const server = await serve({ readLeaseMs: 10 });
  port = server.port;
  client = rawClient(server);
  upload = new Upload(client).open((await openRun(client, structuredClone(RUN) as never)).generation);
  for (const step of [1, 2, 3]) await push(step);
});

const remove = (average: string) => ask(client, 'RemoveAverage', { run: 'r', average });

async function push(step: number): Promise<void> {
  expect((await upload.push(step, f32Space(new Array(4_096).fill(step))).ack()).state).toBe('COMMITTED');
}

describe('RemoveAverage', () => {
  test('the average is gone with its snapshots, its memory is free, the others go on', async () => {
    const before = await ask(client, 'GetRun');
    expect(before.snapshots_held).toHaveLength(6);
    expect(await remove('power')).toEqual({});
    const after = await ask(client, 'GetRun');
    expect(after.averages.map(({ name }) => name)).toEqual(['ema', 'power2']);
    expect(after.states.map(({ name }) => name)).toEqual(['ema', 'power2']);
    expect(after.snapshots_held.map(({ average, step }) => [average, Number(step)])).toEqual([
      ['power2', 1],
      ['power2', 2],
      ['power2', 3],
    ]);
    const [old, now] = [before.memory!, after.memory!];
    expect(Number(now.snapshot_bytes)).toBe(Number(old.snapshot_bytes) / 2);
    expect(Number(now.free_bytes) - Number(old.free_bytes)).toBe(
      Number(old.shadow_bytes) + Number(old.snapshot_bytes) - Number(now.shadow_bytes) - Number(now.snapshot_bytes),
    );
    await push(4);
    // The average has been 1, 1.5, 2.25 and 3.125.
    expect(f32Values((await read(client, { average: 'ema' })).bytes, 1)).toEqual([3.125]);
    await expectError(
      read(client, { average: 'power' }),
      'NOT_FOUND',
      'AVERAGE_NOT_FOUND',
      /^run "r" has no average "power", it has "ema", "power2"$/,
    );
  });

  test('a combination does without it, and without the last of its kind there is none', async () => {
    expect((await read(client, { gamma: 1.5 })).header.contributions).toHaveLength(6);
    await remove('power2');
    const { contributions } = (await read(client, { gamma: 1.5 })).header;
    expect(contributions.map(({ average }) => average)).toEqual(['power', 'power', 'power']);
    await remove('power');
    await expectError(
      read(client, { gamma: 1.5 }),
      'FAILED_PRECONDITION',
      'NOTHING_TO_COMBINE',
      /^run "r" has no power-function average that has been updated, a combination needs one or more$/,
    );
    await push(4);
  });

  test('who reads it reads on to the end', async () => {
    const whole = (await read(client, { average: 'power' })).bytes;
    const reader = stalledReader(port, { run: 'r', average: 'power', chunk_bytes: 16 });
    const readers = (count: number) => async () =>
      (await ask(client, 'GetRun')).readers_connected === count ? true : undefined;
    await eventually(readers(1));
    await remove('power');
    for (const step of [4, 5, 6]) await push(step);
    const received: Buffer[] = [];
    reader.stream.on('data', (data: Buffer) => received.push(data));
    reader.session.setLocalWindowSize(1 << 22);
    reader.session.settings({ initialWindowSize: 1 << 22 });
    // Only now has the whole read come: the server is done when gRPC has the last byte.
    expect(await reader.closed()).toEqual({ status: 0, resetCode: 0 });
    const bytes = Buffer.concat(received);
    // All elements are the same, so all chunks of four elements are the same too.
    expect(bytes.toString('hex').split(whole.toString('hex', 0, 16))).toHaveLength(whole.length / 16 + 1);
    reader.kill();
  });

  test('who waits for it is told', async () => {
    const waiting = expectError(
      read(client, { average: 'power', min_step: 9, wait_ms: 60_000 }),
      'NOT_FOUND',
      'AVERAGE_NOT_FOUND',
      /^run "r" has no average "power", it has "ema", "power2"$/,
    );
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await remove('power');
    await waiting;
  });

  test('an unknown one, the last one, an unknown run', async () => {
    await upload.end();
    for (const average of ['power', 'power2']) await remove(average);
    const before = await pictureOf(client);
    await expectError(
      remove('power'),
      'NOT_FOUND',
      'AVERAGE_NOT_FOUND',
      /^run "r" has no average "power", it has "ema"$/,
    );
    await expectError(
      remove('ema'),
      'FAILED_PRECONDITION',
      'LAST_AVERAGE',
      /^"ema" is the only average of run "r": delete the run$/,
    );
    await expectError(
      ask(client, 'RemoveAverage', { run: 'nope', average: 'ema' }),
      'NOT_FOUND',
      'RUN_NOT_FOUND',
      /^run "nope" does not exist$/,
    );
    expect(await pictureOf(client)).toEqual(before);
  });
});
