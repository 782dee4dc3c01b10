import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { UsageError } from '../../../src/cli/exit.js';
import { collectBoxes } from '../../../src/cli/flags/box-flag.js';
import { averageMean } from '../../../src/client/index.js';
import { SafetensorsReader } from '../../../src/storage/index.js';
import { asF32, f32, startService } from '../../client/support.js';
import { runCommand, succeed } from '../run-command.js';

/** Reads the values of each tensor of a file. */
async function readValues(path: string): Promise<Record<string, number[]>> {
  const reader = await SafetensorsReader.open(path);
  const values: Record<string, number[]> = {};
  for (const tensor of reader.file.tensors) {
    for await (const piece of reader.readTensor(tensor)) values[tensor.name] = asF32(new Uint8Array(piece));
  }
  await reader.close();
  return values;
}

describe('--box', () => {
  test.each([
    ['w[0:4]', { tensor: 'w', offset: [0], extent: [4] }],
    ['layer.0.weight[2:2,10:64]', { tensor: 'layer.0.weight', offset: [2, 10], extent: [0, 54] }],
    ['odd[1][0:1]', { tensor: 'odd[1]', offset: [0], extent: [1] }],
  ])('%s', (text, box) => {
    expect(collectBoxes(text, [{ name: 'v[0:1]', box: { tensor: 'v' } }]).slice(1)).toEqual([{ name: text, box }]);
  });

  test.each(['', 'w', 'w[]', '[0:1]', 'w[0:1', 'w[:4]', 'w[0:1,]', 'w[-1:2]', 'w[0:1:2]'])('not %j', (text) => {
    expect(() => collectBoxes(text)).toThrow(
      new UsageError(`--box must be a tensor and its ranges, as weight[0:4,2:8], got ${JSON.stringify(text)}`),
    );
  });

  test('refuses a range that falls, and the same box twice', () => {
    expect(() => collectBoxes('w[0:1,5:4]')).toThrow('--box "w[0:1,5:4]" has the range 5:4, which falls');
    expect(() => collectBoxes('w[0:1]', collectBoxes('w[0:1]'))).toThrow('--box names "w[0:1]" twice');
  });

  test('of pull writes each part under its own name', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'shadowkeep-cli-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const { client, target } = await startService();
    const run = await client.openRun({
      run: 'r',
      tensors: [{ name: 'w', dtype: 'F32', shape: [2, 3] }],
      averages: [averageMean('mean')],
    });
    await run.update(1, { w: f32(1, 2, 3, 4, 5, 6) });
    await run.close();
    const out = join(directory, 'parts.safetensors');
    const pull = ['pull', 'r', '--target', target, '--out', out];
    await succeed([...pull, '--box', 'w[0:2,1:2]', '--box', 'w[1:2,0:3]']);
    expect(await readValues(out)).toEqual({ 'w[0:2,1:2]': [2, 5], 'w[1:2,0:3]': [4, 5, 6] });
    expect(await runCommand([...pull, '--overwrite', '--box', 'w[0:3,0:1]'])).toEqual({
      status: 1,
      stdout: '',
      stderr:
        'shadowkeep: boxes[0] of tensor "w" has offset 0 and extent 3 in dimension 0, which has 2 elements ' +
        '(INVALID_FIELD)\n',
    });
  });
});
