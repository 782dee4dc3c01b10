import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { expectError } from './expect-error.js';
import { openRun, rawClient, SMALL, serve } from './harness.js';
import { f32Space, read } from './read.js';
import { Upload } from './upload.js';

const dirs: string[] = [];

afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

async function dataDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'shadowkeep-'));
  dirs.push(dir);
  return dir;
}

test('a read that was broken by the restart is not resumed in another step', async () => {
  const options = { dataDir: await dataDir() };
  const first = await serve(options);
  const client = rawClient(first);
  const { generation } = await openRun(client);
  const upload = new Upload(client).open(generation);
  const versions: number[] = [];
  for (const step of [1, 2, 3]) {
    await upload.push(step, f32Space([step, step, step, step])).ack();
    versions.push(Number((await read(client)).header.version));
  }
  await first.stop();
  const second = rawClient(await serve(options));
  const next = new Upload(second).open(generation);
  for (const step of [4, 5, 6]) {
    for (const version of versions) {
      await expectError(
        read(second, { resume: { version, offset: 16 } }),
        'NOT_FOUND',
        'VERSION_NOT_FOUND',
        /is no longer held$/,
      );
    }
    await next.push(step, f32Space([step, step, step, step])).ack();
  }
});

test('a stop in the middle of a step: what was acknowledged is there, what was not can be sent again, once', async () => {
  const options = { dataDir: await dataDir() };
  const elements = 1 << 20;
  const request = { ...SMALL, tensors: [{ name: 'w', dtype: 'F32' as const, shape: [elements] }] };
  const sendAll = (upload: Upload, step: number): Upload => {
    const chunk = Buffer.from(new Float32Array(elements / 4).fill(step).buffer);
    for (let offset = 0; offset < elements * 4; offset += chunk.length) upload.chunk(step, offset, chunk);
    return upload.commit(step, elements * 4);
  };
  for (let step = 1; step <= 6; step++) {
    const server = await serve(options);
    const client = rawClient(server);
    const { generation } = await openRun(client, request);
    const upload = new Upload(client).open(generation);
    await upload.next();
    sendAll(upload, step);
    const outcome = upload.ack().then(
      ({ state }) => state,
      () => 'broken',
    );
    // For each step the server stops a little later: before the chunks, among them, in the fold, after it.
    for (let turn = 0; turn < (step - 1) * 12; turn++) await new Promise((resolve) => setImmediate(resolve));
    await server.stop();
    const next = await serve(options);
    const again = rawClient(next);
    const { committed_step } = await openRun(again, request);
    if ((await outcome) === 'COMMITTED') expect(committed_step).toBe(step);
    const resend = new Upload(again).open(generation);
    const { state } = await sendAll(resend, step).ack();
    expect(state).toBe(committed_step === step ? 'ALREADY_COMMITTED' : 'COMMITTED');
    expect(Number((await read(again)).header.num_updates)).toBe(step);
    await next.stop();
  }
});
