import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { averageEma, averageMean, parseAverage, type ShadowkeepClient } from '../../src/client/index.js';
import { readSafetensorsHeader, SafetensorsReader } from '../../src/storage/index.js';
import type { TensorSpec } from '../../src/storage/safetensors/format.js';
import { SafetensorsWriter } from '../../src/storage/safetensors/writer.js';
import { eventually, f32, startPeer, startService } from '../client/support.js';
import { canMount, mountSmallDisk } from '../storage/small-disk.js';
import { jsonLines, runCommand, startAtTerminal, startCommand, succeed, TERMINAL } from './run-command.js';

let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shadowkeep-cli-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const inDirectory = (name: string) => join(directory, name);

type Tensors = Record<string, Pick<TensorSpec, 'dtype' | 'shape'> & { data: ArrayBufferView }>;

async function writeFile(name: string, tensors: Tensors, metadata: Record<string, string> = {}): Promise<string> {
  const path = inDirectory(name);
  const specs = Object.entries(tensors).map(([tensor, { dtype, shape }]) => ({ name: tensor, dtype, shape }));
  const writer = await SafetensorsWriter.create(path, specs, { metadata });
  for (const { data } of Object.values(tensors)) {
    await writer.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  await writer.finish();
  return path;
}

/** Writes a file with a step: some numbers and a counter. */
function step(name: string, w: readonly number[], n: number, metadata?: Record<string, string>): Promise<string> {
  return writeFile(
    name,
    {
      w: { dtype: 'F32', shape: [2], data: f32(...w) },
      n: { dtype: 'I64', shape: [], data: BigInt64Array.of(BigInt(n)) },
    },
    metadata,
  );
}

async function readTensors(path: string): Promise<Record<string, { dtype: string; hex: string }>> {
  const reader = await SafetensorsReader.open(path);
  const tensors: Record<string, { dtype: string; hex: string }> = {};
  for (const tensor of reader.file.tensors) {
    const pieces: Uint8Array[] = [];
    for await (const piece of reader.readTensor(tensor)) pieces.push(piece);
    tensors[tensor.name] = { dtype: tensor.dtype, hex: Buffer.concat(pieces).toString('hex') };
  }
  await reader.close();
  return tensors;
}

const hex = (data: ArrayBufferView) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');

async function pushSteps(client: ShadowkeepClient, steps: number): Promise<void> {
  const run = await client.openRun({
    run: 'r',
    tensors: [
      { name: 'w', dtype: 'F32', shape: [2] },
      { name: 'big', dtype: 'F32', shape: [3 << 18] },
      { name: 'n', dtype: 'I64', shape: [] },
    ],
    averages: [averageMean('mean')],
  });
  for (let k = 1; k <= steps; k += 1) {
    await run.update(k, { w: f32(k, -k), big: new Float32Array(3 << 18).fill(k), n: BigInt64Array.of(BigInt(k)) });
  }
  await run.close();
}

describe('push', () => {
  test('folds files in order, creates the run, and says what became of each', async () => {
    const { client, target } = await startService();
    const paths = [await step('step_1.safetensors', [1, 1], 1), await step('x.safetensors', [3, 5], 2, { step: '4' })];
    const create = ['push', 'r', ...paths, '--ema', 'ema=0.5', '--mean', 'swa', '--target', target];
    const lines = (await succeed(create)).trimEnd().split('\n');
    expect(lines).toEqual([
      expect.stringMatching(/^step 1 COMMITTED: .*step_1\.safetensors, 16 B in /),
      expect.stringMatching(/^step 4 COMMITTED: .*x\.safetensors, 16 B in /),
    ]);
    const again = jsonLines(await succeed(['push', 'r', paths[1]!, '--target', target, '--json']));
    expect(again).toEqual([{ file: paths[1], bytes: 16, step: 4, state: 'ALREADY_COMMITTED', committedStep: 4 }]);
    const { tensors } = await client.getShadow({ run: 'r', average: 'swa' });
    expect(hex(tensors.get('w')!.data)).toBe(hex(f32(2, 3)));
    expect(hex(tensors.get('n')!.data)).toBe(hex(BigInt64Array.of(2n)));
  });

  test.each([
    [['--ema', 'ema=0.5'], 2],
    [['--average', 'ema=constant:decay=0.5'], 2],
    [['--ema', 'ema=0.5', '--start', 'initial'], 1],
    [['--average', 'ema=constant:decay=0.5,start=initial'], 1],
  ])('%j folds the first file, unless it is told to register it', async (flags, numUpdates) => {
    const { client, target } = await startService();
    const paths = [await step('a.safetensors', [1, 1], 1), await step('b.safetensors', [3, 5], 2)];
    await succeed(['push', 'r', ...paths, '--step', '1', ...flags, '--target', target]);
    expect(await client.getShadow({ run: 'r' })).toMatchObject({ step: 2, numUpdates });
  });

  test('--start initial registers the first file', async () => {
    const { client, target } = await startService();
    const paths = [await step('a.safetensors', [1, 1], 1), await step('b.safetensors', [3, 5], 2)];
    await succeed([
      'push',
      'r',
      ...paths,
      '--step',
      '10',
      '--ema',
      'ema=0.5',
      '--start',
      'initial',
      '--target',
      target,
    ]);
    const shadow = await client.getShadow({ run: 'r' });
    expect(shadow).toMatchObject({ step: 11, numUpdates: 1 });
    expect(hex(shadow.tensors.get('w')!.data)).toBe(hex(f32(2, 3)));
  });

  test('a bfloat16 file goes into a float32 run', async () => {
    const { client, target } = await startService();
    const run = await client.openRun({
      run: 'r',
      tensors: [{ name: 'w', dtype: 'F32', shape: [2] }],
      averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' })],
    });
    await run.close();
    const bf16 = { dtype: 'BF16' as const, shape: [2], data: Uint16Array.of(0x3f80, 0x4000) };
    const path = await writeFile('1.safetensors', { w: bf16 });
    await succeed(['push', 'r', path, '--target', target]);
    expect(hex((await client.getShadow({ run: 'r' })).tensors.get('w')!.data)).toBe(hex(f32(1, 2)));
  });

  test('refuses what does not fit before it sends anything', async () => {
    const { client, target } = await startService();
    const good = await step('1.safetensors', [1, 1], 1);
    const push = async (...args: string[]) => {
      const { status, stderr } = await runCommand(['push', 'r', ...args, '--target', target]);
      return `${status} ${stderr.trimEnd()}`;
    };
    expect(await push(good)).toMatch(/^2 shadowkeep: run "r" does not exist: name its averages with --average/);
    expect(await push(inDirectory('none.safetensors'))).toMatch(/^1 shadowkeep: .*none\.safetensors.* \(NOT_FOUND\)$/);
    writeFileSync(inDirectory('bad.safetensors'), 'no safetensors');
    expect(await push(inDirectory('bad.safetensors'))).toMatch(/^1 shadowkeep: .*\(INVALID_FILE\)$/);
    expect(await push(await step('plain.safetensors', [1, 1], 1))).toMatch(/^2 .*give the first one with --step$/);
    const other = await writeFile('2.safetensors', { w: { dtype: 'F32', shape: [3], data: f32(1, 2, 3) } });
    expect(await push(good, other, '--mean', 'm')).toMatch(
      /^1 .*has "w" as F32 \[3\], the run as F32 \[2\] \(LAYOUT_MISMATCH\)$/,
    );
    expect(await client.listRuns()).toEqual([]);
    await succeed(['push', 'r', good, '--mean', 'm', '--target', target]);
    expect(await push(good, '--mean', 'other')).toMatch(/^1 shadowkeep: .*\(AVERAGES_MISMATCH\)$/);
    expect((await client.getRun('r')).committedStep).toBe(1);
  });

  test('an interrupt ends the step without a trace', async () => {
    const { client, target } = await startService({ memoryBytes: 1 << 30, reconnectGraceMs: 0 });
    const data = new Uint8Array(192 << 20);
    const path = await writeFile('1.safetensors', { w: { dtype: 'F32', shape: [data.length / 4], data } });
    const push = startCommand(['push', 'r', path, '--mean', 'm', '--target', target]);
    await eventually(async () => (await client.listRuns())[0]?.stagingBytes ?? 0).toBeGreaterThan(0);
    push.child.kill('SIGINT');
    expect(await push.outcome).toEqual({ status: 130, stdout: '', stderr: 'shadowkeep: interrupted by SIGINT\n' });
    await eventually(async () => (await client.getRun('r')).writersConnected).toBe(0);
    expect(await client.getRun('r')).toMatchObject({ commits: 0, stagingStep: undefined });
  });
});

test('push goes on with a run that has rules of its own', async () => {
  const { client, target } = await startService();
  const averages = parseAverage('a=power-function:sigma_rel=0.1');
  const tensors = [
    { name: 'w', dtype: 'F32', shape: [2] },
    { name: 'n', dtype: 'I64', shape: [] },
  ] as const;
  const rules = { nonFinite: 'ACCEPT', snapshots: { everySteps: 1, countMax: 2 } } as const;
  const run = await client.openRun({ run: 'r', tensors, averages, ...rules });
  await run.update(1, { w: f32(1, 2), n: BigInt64Array.of(1n) });
  await run.close();
  await succeed(['push', 'r', await step('step_2.safetensors', [3, 4], 2), '--target', target]);
  expect(await client.getRun('r')).toMatchObject({ committedStep: 2, nonFinite: 'ACCEPT' });
});

describe('pull', () => {
  test('writes one file that carries the step', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 3);
    const path = inDirectory('ema.safetensors');
    const said = await succeed(['pull', 'r', '--out', path, '--target', target]);
    expect(said).toMatch(new RegExp(`^wrote ${path}: r mean at step 3, 3 updates, 3 tensors, 3\\.0 MiB in .*\n$`));
    const { w, n, big } = await readTensors(path);
    expect(w).toEqual({ dtype: 'F32', hex: hex(f32(2, -2)) });
    expect(n).toEqual({ dtype: 'I64', hex: hex(BigInt64Array.of(3n)) });
    expect(big?.hex).toBe(hex(new Float32Array(3 << 18).fill(2)));
    const { metadata } = await readSafetensorsHeader(path);
    expect(Object.fromEntries(metadata)).toEqual({
      format: 'pt',
      run: 'r',
      average: 'mean',
      step: '3',
      num_updates: '3',
      generation: expect.stringMatching(/^\d+$/),
    });
  });

  test('combines a width that was not kept, and says of what', async () => {
    const { client, target } = await startService();
    const averages = parseAverage('edm2:stds=0.05+0.1');
    const tensors = [{ name: 'w', dtype: 'F32', shape: [1] }] as const;
    const run = await client.openRun({ run: 'wide', tensors, averages, snapshots: { everySteps: 5, countMax: 4 } });
    for (let number = 1; number <= 20; number++) await run.update(number, { w: f32(number) });
    await run.close();
    const path = inDirectory('wide.safetensors');
    const args = ['pull', 'wide', '--out', path, '--target', target];
    expect(await succeed([...args, '--sigma-rel', '0.08'])).toMatch(
      /wide sigma_rel 0\.08 at step 20, combined from 8 parts, [\d.]+ % off, 1 tensors/,
    );
    const { metadata } = await readSafetensorsHeader(path);
    expect(Object.fromEntries(metadata)).toMatchObject({ average: '', sigma_rel: '0.08', step: '20' });
    const [said] = jsonLines(await succeed([...args, '--gamma', '7', '--step', '15', '--overwrite', '--json']));
    expect(said).toMatchObject({ gamma: 7, step: 15, fitError: expect.any(Number) });
    const weights = (said!['contributions'] as { weight: number }[]).map(({ weight }) => weight);
    expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 9);
    for (const [flags, text] of [
      [['--sigma-rel', '0'], '--sigma-rel must be a number above 0, at most 0.288'],
      [['--gamma', 'wide'], '--gamma must be a number above 0, got "wide"'],
      [
        ['--gamma', '7', '--average', 'edm2-0.1'],
        "option '--gamma <GAMMA>' cannot be used with option '--average <NAME>'",
      ],
    ] as const) {
      expect(await runCommand([...args, ...flags])).toMatchObject({ status: 2, stderr: expect.stringContaining(text) });
    }
  });

  test('writes shards with an index, names and casts', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const args = ['pull', 'r', '--average', 'mean', '--dtype', 'bf16', '--shard-bytes', '1MiB', '--json'];
    const out = inDirectory('model/');
    const [written] = jsonLines(
      await succeed([...args, '--out', out, '--names', 'w', '--names', 'b*', '--target', target]),
    );
    expect(written).toMatchObject({
      run: 'r',
      step: 1,
      numUpdates: 1,
      path: inDirectory('model/model.safetensors.index.json'),
      tensorBytes: 4 + 3 * 2 ** 19,
    });
    const { weight_map } = JSON.parse(await readFile(inDirectory('model/model.safetensors.index.json'), 'utf8'));
    expect(Object.keys(weight_map).sort()).toEqual(['big', 'w']);
    const shard = await readTensors(inDirectory(`model/${weight_map.w}`));
    expect(shard['w']).toEqual({ dtype: 'BF16', hex: '803f80bf' });
  });

  test.skipIf(!TERMINAL.isAble)(`draws a bar at a terminal, and none for programs${TERMINAL.note}`, async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const pull = ['pull', 'r', '--out', inDirectory('x.safetensors'), '--overwrite', '--target', target];
    const seen = await startAtTerminal(pull).outcome;
    expect(seen).toMatchObject({ status: 0, stdout: expect.stringMatching(/100% \| 3\.0 MiB of 3\.0 MiB .*wrote /s) });
    const json = await startAtTerminal([...pull, '--json']).outcome;
    expect(jsonLines(json.stdout)).toMatchObject([{ run: 'r', step: 1 }]);
  });

  test('waits for its step', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const pull = startCommand(['pull', 'r', '--out', directory, '--min-step', '2', '--wait', '1m', '--target', target]);
    await eventually(async () => (await client.getRun('r')).readersConnected).toBe(1);
    await pushSteps(client, 2);
    expect(await pull.outcome).toMatchObject({ status: 0, stdout: expect.stringContaining('at step 2') });
    expect(readdirSync(directory)).toEqual(['model.safetensors']);
  });

  test('never replaces a file unless told to, and leaves nothing when it fails', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const path = inDirectory('ema.safetensors');
    writeFileSync(path, 'mine');
    const pull = (...args: string[]) => runCommand(['pull', 'r', '--out', path, '--target', target, ...args]);
    const refusal = `shadowkeep: ${path} exists already; --overwrite replaces it (EXISTS)\n`;
    expect(await pull()).toEqual({ status: 1, stdout: '', stderr: refusal });
    for (const [args, reason] of [
      [['--step', '7', '--overwrite'], 'VERSION_NOT_FOUND'],
      [['--average', 'none', '--overwrite'], 'AVERAGE_NOT_FOUND'],
      [['--names', 'z*', '--overwrite'], 'INVALID_FIELD'],
    ] as const) {
      expect(await pull(...args)).toMatchObject({ status: 1, stderr: expect.stringMatching(`\\(${reason}\\)\n$`) });
    }
    expect(await readFile(path, 'utf8')).toBe('mine');
    expect(readdirSync(directory)).toEqual(['ema.safetensors']);
    expect((await pull('--overwrite')).status).toBe(0);
    expect(readdirSync(directory)).toEqual(['ema.safetensors']);
    expect(Object.keys(await readTensors(path)).sort()).toEqual(['big', 'n', 'w']);
  });

  test('onto a path that is no place for it', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const pull = (out: string) => runCommand(['pull', 'r', '--out', out, '--target', target]);
    expect(await pull(inDirectory('model.bin'))).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('(INVALID_INPUT)'),
    });
    expect(await pull(inDirectory('no/such/x.safetensors'))).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('(NOT_FOUND)'),
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  const { isAble, note } = canMount();
  test.skipIf(!isAble)(`onto a full disk leaves nothing${note}`, async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const disk = mountSmallDisk()!;
    try {
      const { status, stderr } = await runCommand([
        'pull',
        'r',
        '--out',
        join(disk.path, 'x.safetensors'),
        '--target',
        target,
      ]);
      expect(status).toBe(1);
      expect(stderr).toMatch(/^shadowkeep: no space left for .* \(NO_SPACE\)\n$/);
      expect(readdirSync(disk.path)).toEqual([]);
    } finally {
      disk.unmount();
    }
    expect((await client.getRun('r')).readersConnected).toBe(0);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s leaves no partial file', async (signal, status) => {
    const header = {
      run: 'r',
      average: 'a',
      step: 1,
      total_bytes: 128,
      tensors: [{ name: 'x', dtype: 'U8', shape: [128], offset: 0 }],
    };
    // This service stops in the middle of a read, so the file stays open for as long as the test wants.
    const { target } = await startPeer({
      GetShadow: (call: ServerWritableStream<object, object>) => call.write({ header }),
    });
    mkdirSync(inDirectory('out'));
    const pull = startCommand(['pull', 'r', '--out', inDirectory('out'), '--target', target]);
    await eventually(() => readdirSync(inDirectory('out'))).toHaveLength(1);
    expect(readdirSync(inDirectory('out'))).not.toContain('model.safetensors');
    pull.child.kill(signal);
    expect(await pull.outcome).toEqual({ status, stdout: '', stderr: `shadowkeep: interrupted by ${signal}\n` });
    expect(readdirSync(inDirectory('out'))).toEqual([]);
  });

  test('of a run that is deleted meanwhile leaves nothing', async () => {
    const { client, target } = await startService({ readStallTimeoutMs: 30_000, memoryBytes: 1 << 30 });
    const count = 48 << 20;
    const run = await client.openRun({
      run: 'large',
      tensors: [{ name: 'w', dtype: 'F32', shape: [count] }],
      averages: [averageMean('mean')],
    });
    await run.update(1, { w: new Float32Array(count) });
    await run.close();
    const pull = startCommand(['pull', 'large', '--out', directory, '--target', target]);
    await eventually(() => readdirSync(directory)).toHaveLength(1);
    await client.deleteRun('large');
    expect(await pull.outcome).toMatchObject({ status: 1, stderr: expect.stringContaining('(RUN_DELETED)') });
    expect(readdirSync(directory)).toEqual([]);
  });
});
