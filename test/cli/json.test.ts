import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildProgram } from '../../src/cli/program.js';
import { listPresets, parseAverage } from '../../src/client/index.js';
import { SafetensorsWriter } from '../../src/storage/safetensors/writer.js';
import { f32, startService } from '../client/support.js';
import { readSource } from '../support/source-files.js';
import { jsonLines } from './run-command.js';
import { runInProcess } from './run-in-process.js';

let directory = '';
const file = () => join(directory, 'step_3.safetensors');

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shadowkeep-json-'));
  const writer = await SafetensorsWriter.create(file(), [{ name: 'a_tensor', dtype: 'F32', shape: [1] }]);
  await writer.write(new Uint8Array(f32(3).buffer));
  await writer.finish();
});

afterAll(() => rmSync(directory, { recursive: true }));

/** The commands that print JSON, in an order in which each finds what it needs. */
const COMMANDS: string[][] = [
  ['version'],
  ['health'],
  ['presets'],
  ['presets', 'timm-v3:decay=0.9998,use_warmup=true'],
  ['runs'],
  ['describe', 'r'],
  ['push', 'r', 'FILE'],
  ['watch', 'r', '--until-step', '3'],
  ['pull', 'r', '--average', 'wide-0.05', '--out', 'OUT'],
  ['pull', 'r', '--sigma-rel', '0.08', '--step', '2', '--out', 'OUT', '--overwrite'],
  ['average', 'add', 'r', 'late=torch-ema:decay=0.5'],
  ['average', 'remove', 'r', 'late'],
  ['delete', 'r', '--yes'],
];

/** Whether a key is not of this program's making, as those in `metadata` are. */
const isForeign = (path: string) => /\.metadata\./.test(path);

function keysOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => keysOf(item, path));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [`${path}.${key}`, ...keysOf(inner, `${path}.${key}`)]);
}

test('all commands with --json are here', () => {
  const names = buildProgram().commands.flatMap((command) =>
    command.commands.length === 0
      ? [command.name()]
      : command.commands.map((inner) => `${command.name()} ${inner.name()}`),
  );
  const tested = COMMANDS.map((words) => words.slice(0, words[0] === 'average' ? 2 : 1).join(' '));
  // `serve` and `demo` start processes, and have tests of their own.
  expect(new Set([...tested, 'serve', 'demo'])).toEqual(new Set(names));
});

describe('JSON', () => {
  test('has keys in camel case, none of the decoder, and docs/cli.md names each', async () => {
    const { client, target } = await startService();
    const run = await client.openRun({
      run: 'r',
      tensors: [{ name: 'a_tensor', dtype: 'F32', shape: [1] }],
      averages: [...parseAverage('wide=edm2:stds=0.05+0.1'), ...parseAverage('e=ema-pytorch')],
      snapshots: { everySteps: 1, countMax: 8 },
      retain: { everySteps: 1, countMax: 2 },
    });
    for (const step of [1, 2]) await run.update(step, { a_tensor: f32(step) });
    await run.close();
    const documented = readSource('docs/cli.md');
    for (const command of COMMANDS) {
      const words = command.map((word) => ({ FILE: file(), OUT: join(directory, 'out.safetensors') })[word] ?? word);
      const where = ['version', 'presets'].includes(command[0]!) ? [] : ['--target', target];
      const { status, stdout, stderr } = await runInProcess([...words, '--json', ...where]);
      expect({ command, status, stderr }).toEqual({ command, status: 0, stderr: '' });
      const keys = jsonLines(stdout)
        .flatMap((line) => keysOf(line))
        .filter((path) => !isForeign(path))
        .map((path) => path.slice(path.lastIndexOf('.') + 1));
      expect(keys.filter((key) => !/^[a-z][A-Za-z0-9]*$/.test(key))).toEqual([]);
      expect(
        [...new Set(keys)].filter((key) => !documented.includes(`\`${key}\``)),
        command.join(' '),
      ).toEqual([]);
    }
  });

  test('of an average is the same from a text and from a run', async () => {
    const { client, target } = await startService();
    const texts = listPresets()
      .map(({ name, options }) => {
        const required = options.filter((option) => option.default === undefined).map((option) => option.name);
        return { name, required };
      })
      .filter(({ required }) => required.length === 0)
      .map(({ name }) => name);
    const some = [...texts.slice(0, 8), 'x=lightning:update_every_n_steps=2,precision=F64,update_starting_at_step=1'];
    const averages = some.flatMap((text) => parseAverage(text)).slice(0, 16);
    const run = await client.openRun({ run: 'r', tensors: [{ name: 'w', dtype: 'F32', shape: [1] }], averages });
    await run.close();
    const expected: unknown[] = [];
    for (const text of some) {
      const { stdout } = await runInProcess(['presets', text, '--json']);
      expected.push(...(JSON.parse(stdout) as unknown[]));
    }
    const [described] = jsonLines((await runInProcess(['describe', 'r', '--json', '--target', target])).stdout);
    expect(described!['averages']).toEqual(expected.slice(0, 16));
  });
});
