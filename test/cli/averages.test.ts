import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { averageMean, type ShadowkeepClient } from '../../src/client/index.js';
import { SafetensorsWriter } from '../../src/storage/safetensors/writer.js';
import { asF32, f32, startService } from '../client/support.js';
import { jsonLines, runCommand, succeed } from './run-command.js';

const TENSORS = [{ name: 'w', dtype: 'F32', shape: [1] }] as const;

async function openRun(client: ShadowkeepClient) {
  return await client.openRun({ run: 'r', tensors: TENSORS, averages: [averageMean('mean')] });
}

describe('average add and remove', () => {
  test('while the run goes on', async () => {
    const { client, target } = await startService();
    const run = await openRun(client);
    await run.update(1, { w: f32(1) });
    expect(await succeed(['average', 'add', 'r', 'late=torch-ema:decay=0.5', '--target', target])).toBe(
      'added late at step 1: constant(decay 0.5), start FIRST, precision F32, from torch-ema:decay=0.5\n',
    );
    await run.update(2, { w: f32(2) });
    await run.update(3, { w: f32(4) });
    const late = await client.getShadow({ run: 'r', average: 'late' });
    expect(asF32(late.tensors.get('w')?.data)).toEqual([3]);
    expect(late.numUpdates).toBe(2);
    const described = await succeed(['describe', 'r', '--target', target]);
    expect(described).toMatch(
      /^late +2 +.*constant\(decay 0\.5\), start FIRST, precision F32, from torch-ema:decay=0\.5$/m,
    );

    expect(await succeed(['average', 'remove', 'r', 'late', '--target', target])).toBe('removed late of r\n');
    expect((await client.getRun('r')).averages.map(({ name }) => name)).toEqual(['mean']);
    expect(await runCommand(['average', 'remove', 'r', 'late', '--target', target])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('(AVERAGE_NOT_FOUND)'),
    });
    await run.close();
  });

  test('as JSON, several of one text', async () => {
    const { client, target } = await startService();
    await (await openRun(client)).close();
    const added = jsonLines(await succeed(['average', 'add', 'r', 'e=edm2', '--json', '--target', target]));
    expect(added).toEqual([
      { run: 'r', average: expect.objectContaining({ name: 'e-0.05', preset: 'edm2' }) },
      { run: 'r', average: expect.objectContaining({ name: 'e-0.1', preset: 'edm2' }) },
    ]);
    const removed = await succeed(['average', 'remove', 'r', 'e-0.1', '--json', '--target', target]);
    expect(removed).toBe('{"run":"r","average":"e-0.1"}\n');
    expect(await runCommand(['average', 'add', 'nope', 'mean', '--target', target])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('(RUN_NOT_FOUND)'),
    });
    expect(await runCommand(['average', 'add', 'r', 'mean', '--target', target])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('(INVALID_AVERAGE)'),
    });
  });
});

describe('push --average', () => {
  let directory: string;
  const file = (step: number) => join(directory, `${step}.safetensors`);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shadowkeep-averages-'));
    for (const step of [1, 2, 3]) {
      const writer = await SafetensorsWriter.create(file(step), [...TENSORS]);
      await writer.write(new Uint8Array(f32(step).buffer));
      await writer.finish();
    }
  });

  afterAll(() => rm(directory, { recursive: true }));

  test('folds by presets, and registers the first file where one starts from it', async () => {
    const { client, target } = await startService();
    await succeed([
      ...['push', 'r', file(1), file(2), file(3), '--target', target],
      ...['--average', 'a=timm-v2:decay=0.5,precision=F64', '--average', 'b=torch-ema:decay=0.5', '--mean', 'c'],
    ]);
    expect((await client.getRun('r')).averages.map(({ name, preset }) => [name, preset])).toEqual([
      ['a', 'timm-v2:decay=0.5'],
      ['b', 'torch-ema:decay=0.5'],
      ['c', ''],
    ]);
    const value = async (average: string) =>
      asF32((await client.getShadow({ run: 'r', average, dtype: 'F32' })).tensors.get('w')?.data)[0];
    // a starts from 1 and becomes 1.5, then 2.25. b copies 2 and becomes 2.5. c is the mean of 2 and 3.
    expect([await value('a'), await value('b'), await value('c')]).toEqual([2.25, 2.5, 2.5]);
  });
});
