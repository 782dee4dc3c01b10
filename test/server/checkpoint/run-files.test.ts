import { mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { OpenRunRequest } from '../../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../../src/protocol/index.js';
import { expectError } from '../expect-error.js';
import { ask, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, read } from '../read.js';
import { Upload } from '../upload.js';

/** A run with every kind of plane, start and precision. 1,000 elements are no whole number of SIMD vectors or lines. */
const MIXED: OpenRunRequest = {
  run: 'r',
  tensors: [
    { name: 'w', dtype: 'F32', shape: [10, 100] },
    { name: 'empty', dtype: 'F32', shape: [0] },
    { name: 'b', dtype: 'F32', shape: [3] },
    { name: 'n', dtype: 'I64', shape: [] },
    { name: 'left out', dtype: 'F32', shape: [7], policy: 'IGNORE' },
  ],
  averages: [
    { name: 'ema', start: 'INITIAL', constant: { decay: 0.9 } },
    { name: 'ema64', start: 'ZEROS', precision: 'F64', constant: { decay: 0.999 } },
    { name: 'mean', start: 'FIRST', mean: {} },
    { name: 'mean64', start: 'FIRST', precision: 'F64', mean: {} },
  ],
};

async function dataDir(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'shadowkeep-run-files-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** All files below a directory, with their bytes. */
async function treeOf(path: string): Promise<Map<string, string>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(await Promise.all(files.sort().map(async (file) => [file, await readFile(file, 'hex')] as const)));
}

/** A step whose values differ everywhere and need rounding in every fold. */
function mixedStep(step: number): Buffer {
  const wave = (count: number): number[] => Array.from({ length: count }, (_, index) => Math.sin(index * 0.7 + step));
  const integer = Buffer.alloc(64);
  integer.writeBigInt64LE(BigInt(step), 0);
  return Buffer.concat([f32Space(wave(1_000), wave(3)), integer]);
}

async function push(client: ShadowWeightsClient, steps: readonly number[], rest: object = {}): Promise<void> {
  const { generation } = await openRun(client, MIXED);
  const upload = new Upload(client).open(generation);
  for (const step of steps) expect((await upload.push(step, mixedStep(step), rest).ack()).state).toBe('COMMITTED');
  await upload.end();
}

/** All that a reader sees of each average, without what a restart may change: the version's id and the durable step. */
async function everything(client: ShadowWeightsClient): Promise<object[]> {
  const names = (MIXED.averages ?? []).map(({ name }) => name ?? '');
  return await Promise.all(
    names.map(async (average) => {
      const { header, bytes } = await read(client, { average });
      const { step, num_updates, weight, tensors, generation } = header;
      return { average, step, num_updates, weight, tensors, generation, bytes: bytes.toString('hex') };
    }),
  );
}

test('a graceful stop saves, a start loads, and training goes on with the same bits', async () => {
  const path = await dataDir();
  const unbroken = rawClient(await serve());
  const first = await serve({ dataDir: path });
  const before = rawClient(first);
  for (const client of [unbroken, before]) {
    await push(client, [0], { initial: true });
    await push(client, [1, 2, 5]);
  }
  const saved = await everything(before);
  await first.stop();

  const second = await serve({ dataDir: path });
  expect(second.loaded).toEqual([{ run: 'r', step: 5 }]);
  const after = rawClient(second);
  expect(await everything(after)).toEqual(saved);
  expect(await openRun(after, MIXED)).toMatchObject({ created: false, committed_step: 5, durable_step: 5 });
  for (const client of [unbroken, after]) await push(client, [6, 9]);
  expect(await everything(after), 'counts, weights and bits').toEqual(await everything(unbroken));
});

test('a run without a commit, and a server without runs, are saved too', async () => {
  const path = await dataDir();
  const empty = await serve({ dataDir: path });
  await empty.stop();
  const first = await serve({ dataDir: path });
  expect(first.loaded).toEqual([]);
  await openRun(rawClient(first), { ...SMALL, incarnation: 'a' });
  await first.stop();
  const second = await serve({ dataDir: path });
  expect(second.loaded).toEqual([{ run: 'r', step: undefined }]);
  const client = rawClient(second);
  await expectError(read(client), 'FAILED_PRECONDITION', 'NOTHING_COMMITTED', /nothing is committed yet/);
  expect(await openRun(client, { ...SMALL, incarnation: 'a' })).toMatchObject({ created: false, generation: 1 });
});

test('generations go on rising over restarts, and old lives stay fenced', async () => {
  const path = await dataDir();
  const generations: number[] = [];
  for (const incarnation of ['a', 'b', 'c']) {
    const server = await serve({ dataDir: path });
    const client = rawClient(server);
    generations.push((await openRun(client, { ...SMALL, incarnation })).generation);
    if (incarnation !== 'a') {
      await expectError(
        openRun(client, { ...SMALL, incarnation: 'a' }),
        'ABORTED',
        'GENERATION_FENCED',
        /generation 1 /,
      );
      await expectError(new Upload(client).open(1).failure(), 'ABORTED', 'GENERATION_FENCED', /generation 1 .* fenced/);
    }
    await server.stop();
  }
  expect(generations).toEqual([1, 2, 3]);
});

test('a stop in the middle of a step leaves no trace of it, and ends the streams with SHUTTING_DOWN', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path, stopGraceMs: 2_000 });
  const client = rawClient(first);
  await push(client, [0], { initial: true });
  const saved = await everything(client);
  const { generation } = await openRun(client, MIXED);
  const upload = new Upload(client).open(generation);
  await upload.next();
  upload.chunk(1, 0, mixedStep(1).subarray(0, 512));
  const refused = expectError(upload.failure(), 'UNAVAILABLE', 'SHUTTING_DOWN', /^the server is shutting down$/);
  const waiting = expectError(
    read(client, { average: 'ema', min_step: 7, wait_ms: 60_000 }),
    'UNAVAILABLE',
    'SHUTTING_DOWN',
    /^the server is shutting down$/,
  );
  await expect.poll(async () => (await ask(client, 'GetRun')).readers_connected).toBe(1);
  await first.stop();
  await refused;
  await waiting;
  const second = await serve({ dataDir: path });
  expect(await everything(rawClient(second))).toEqual(saved);
});

test('a run that is deleted is gone from the disk at once', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  await push(rawClient(first), [0], { initial: true });
  await openRun(rawClient(first), { ...SMALL, run: 'stays' });
  await first.stop();
  expect(await readdir(path)).toContain('r');
  const second = await serve({ dataDir: path });
  await ask(rawClient(second), 'DeleteRun');
  expect(await readdir(path)).not.toContain('r');
  await second.stop();
  const third = await serve({ dataDir: path });
  expect(third.loaded).toEqual([{ run: 'stays', step: undefined }]);
});

test('a second server on the directory is refused, and the first one goes on', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  await expect(serve({ dataDir: path })).rejects.toThrow(/in use|lock/i);
  await push(rawClient(first), [0], { initial: true });
  await first.stop();
  expect((await serve({ dataDir: path })).loaded, 'free again').toEqual([{ run: 'r', step: 0 }]);
});

test('a damaged run is set aside and named, nothing of it changes, and the others are served', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  await push(rawClient(first), [0], { initial: true });
  await openRun(rawClient(first), { ...SMALL, run: 'a' });
  await openRun(rawClient(first), { ...SMALL, run: 'z' });
  await first.stop();
  const others = [
    { run: 'a', step: undefined },
    { run: 'z', step: undefined },
  ];
  const files = (await readdir(join(path, 'r'), { recursive: true })).filter((file) =>
    /\.(safetensors|json)$/.test(file),
  );
  expect(files.length).toBeGreaterThanOrEqual(3);
  const wrongs: [string, (whole: Buffer) => Buffer][] = [
    ['one bit', (whole) => Buffer.concat([whole.subarray(0, -5), Buffer.of(whole.at(-5)! ^ 1), whole.subarray(-4)])],
    ['half of it', (whole) => whole.subarray(0, whole.length / 2)],
    ['nothing', () => Buffer.alloc(0)],
  ];
  for (const [index, file] of files.sort().entries()) {
    const [name, damage] = wrongs[index % wrongs.length]!;
    const whole = await readFile(join(path, 'r', file));
    await writeFile(join(path, 'r', file), damage(whole));
    const before = await treeOf(join(path, 'r'));
    const server = await serve({ dataDir: path });
    expect(server.loaded, `${name} of ${file}`).toEqual(others);
    const client = rawClient(server);
    const { runs, damaged } = await ask(client, 'ListRuns', {});
    expect(runs.map(({ run }) => run)).toEqual(['a', 'z']);
    expect(damaged).toEqual([{ run: 'r', problem: expect.stringMatching(/damaged/) }]);
    expect(damaged[0]!.problem, 'a file in the data directory').not.toContain(path);
    const refusals = [
      () => ask(client, 'GetRun'),
      () => openRun(client, MIXED),
      () => openRun(client, SMALL),
      () => read(client, { average: 'ema' }),
      () => new Upload(client).open(1).failure(),
      () => ask(client, 'AddAverage', { run: 'r', average: { name: 'late', start: 'FIRST', mean: {} } }),
    ];
    for (const request of refusals) {
      await expectError(
        request(),
        'DATA_LOSS',
        'RUN_DAMAGED',
        /^run "r" cannot be served: .*damaged.*; nothing of it was changed: bring its files back, or remove/,
      );
    }
    await openRun(client, { ...SMALL, run: 'a', incarnation: `${index}` });
    await server.stop();
    expect(await treeOf(join(path, 'r')), 'kept for a person to look at').toEqual(before);
    await writeFile(join(path, 'r', file), whole);
  }
  expect((await serve({ dataDir: path })).loaded, 'whole again').toEqual([others[0], { run: 'r', step: 0 }, others[1]]);
});

test('whatever is wrong with a run, the others are served: a link, a newer format, a foreign state; a person deletes it', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  for (const run of ['a', 'b', 'z']) await openRun(rawClient(first), { ...SMALL, run });
  await first.stop();
  await symlink(join(path, 'a'), join(path, 'link'));
  // A run's folder that was renamed by hand does not fit the name in the manifest.
  await rename(join(path, 'b'), join(path, 'moved'));
  const server = await serve({ dataDir: path });
  expect(server.loaded.map(({ run }) => run)).toEqual(['a', 'z']);
  const client = rawClient(server);
  const { damaged } = await ask(client, 'ListRuns', {});
  expect(damaged.map(({ run }) => run)).toEqual(['link', 'moved']);
  await expectError(ask(client, 'DeleteRun', { run: 'link' }), 'FAILED_PRECONDITION', 'DISK_REFUSED', /UNSAFE_PATH/);
  expect(await ask(client, 'DeleteRun', { run: 'moved' })).toEqual({ freed_bytes: 0 });
  expect(await openRun(client, { ...SMALL, run: 'moved' })).toMatchObject({ created: true });
  expect((await readdir(path)).sort()).toEqual(['a', 'link', 'z']);
});

test('a budget too small for what is on the disk refuses the start and gives the directory free', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  await openRun(rawClient(first), { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [12 << 20] }] });
  await first.stop();
  await expect(serve({ dataDir: path, memoryBytes: 64 << 20 })).rejects.toMatchObject({ reason: 'MEMORY_EXHAUSTED' });
  expect((await serve({ dataDir: path })).loaded).toHaveLength(1);
});
