import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningServer, startServer } from '../src/server/index.js';
import { type Block, commandsOf, fencedBlocks } from './support/readme.js';
import { ROOT, readSource } from './support/source-files.js';

/** The address in the README, replaced by that of the test's own server. */
const README_ADDRESS = '127.0.0.1:50051';
const README = 'README.md';
const TIMEOUT_MS = 120_000;

/** Without what `npm test` sets: the reader's npx does not know of this one. */
const userEnv = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));

const python = process.env['SHADOWKEEP_PYTHON'];
const blocks = fencedBlocks(README);
const nameOf = ({ line, language }: Block) => `${README}:${line} (${language})`;
const blocksTo = (treatment: Block['treatment']) =>
  blocks.filter((block) => block.treatment === treatment).map((block) => ({ name: nameOf(block), block }));

test('every block of code says how it is tested', () => {
  const code = blocks.filter(({ language }) => ['sh', 'bash', 'python', 'js', 'ts'].includes(language));
  expect(code.length).toBeGreaterThan(0);
  expect(code.filter(({ treatment }) => treatment === undefined).map(nameOf)).toEqual([]);
});

describe('the commands exist in', () => {
  test.each(blocksTo('check'))('$name', ({ block }) => {
    for (const command of commandsOf(block.text)) checkCommand(command);
  });
});

function checkCommand(words: readonly string[]): void {
  const [program, first = '', second = ''] = words;
  const what = words.join(' ');
  if (program === 'npm') {
    if (first === 'ci') return;
    const scripts = JSON.parse(readSource('package.json')).scripts as Record<string, string>;
    expect(Object.keys(scripts), what).toContain(first === 'run' ? second : first);
  } else if (program === 'node' || (program === 'npx' && first === 'shadowkeep')) {
    const [command = '', ...rest] = words.slice(2);
    const help = spawnSync(process.execPath, ['dist/main.js', command, '--help'], { cwd: ROOT, encoding: 'utf8' });
    expect(help.status, what).toBe(0);
    for (const flag of rest.filter((word) => word.startsWith('--')))
      expect(help.stdout, what).toContain(flag.split('=')[0]);
  } else if (program === 'pip' || (program === 'python' && second === 'pip')) {
    const path = words.at(-1)?.replaceAll(/['"]|\[.*\]/g, '') ?? '';
    expect(existsSync(join(ROOT, path, 'pyproject.toml')), what).toBe(true);
  } else if (program === 'docker') {
    expect(existsSync(join(ROOT, first === 'compose' ? 'docker-compose.yml' : 'Dockerfile')), what).toBe(true);
  } else {
    expect.fail(`the test does not know how to check: ${what}`);
  }
}

describe('these blocks run, one after another', () => {
  let server: RunningServer;
  let folder: string;
  const skipped: Block[] = [];

  beforeAll(async () => {
    server = await startServer({ listen: '127.0.0.1:0', dataDir: 'none', logLevel: 'warn' });
    // A folder that looks like the checkout, so that what the blocks write does not end up in it.
    folder = mkdtempSync(join(tmpdir(), 'shadowkeep-readme-'));
    for (const name of ['dist', 'proto', 'python', README]) symlinkSync(join(ROOT, name), join(folder, name));
    mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
    symlinkSync(ROOT, join(folder, 'node_modules', 'shadowkeep'));
    const command = `#!/bin/sh\nexec node '${join(ROOT, 'dist', 'main.js')}' "$@"\n`;
    writeFileSync(join(folder, 'node_modules', '.bin', 'shadowkeep'), command, { mode: 0o755 });
  });

  afterAll(async () => {
    await server?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  test.for(blocksTo('run'))('$name', { timeout: TIMEOUT_MS }, async ({ block }, { skip }) => {
    const reason = (await whyNotRun(block)) ?? whyWithout(block, skipped);
    if (reason !== undefined) {
      skipped.push(block);
      console.warn(`SKIPPED ${nameOf(block)}: ${reason}`);
      skip(reason);
    }
    const text = block.text.replaceAll(README_ADDRESS, `127.0.0.1:${server.port}`);
    const env = {
      SHADOWKEEP_TARGET: `127.0.0.1:${server.port}`,
      PYTHONPATH: join(folder, 'python', 'src'),
      // What an example leaves there is not found by the next test.
      TMPDIR: folder,
      // torchrun lies beside the Python that has torch.
      PATH: `${dirname(python ?? '')}:${userEnv['PATH']}`,
    };
    for (const command of await commandsFor(block, text, folder)) {
      const { status, output } = await execute(command, folder, env);
      expect(status, output).toBe(0);
    }
  });
});

async function whyNotRun({ language, text }: Block): Promise<string | undefined> {
  if (language !== 'python' && !text.includes('torchrun')) return undefined;
  if (python === undefined) return 'no Python was found';
  if (!text.includes('torch')) return undefined;
  const { status } = await execute([python, '-c', 'import torch'], ROOT, {});
  return status === 0 ? undefined : 'torch is not installed';
}

/** A block that reads a run which a skipped block would have made. */
function whyWithout({ text }: Block, skipped: readonly Block[]): string | undefined {
  const runs = skipped.flatMap((block) => [...block.text.matchAll(/\brun="([^"]+)"/g)].map((match) => match[1] ?? ''));
  const missing = runs.find((run) => text.includes(run));
  return missing === undefined ? undefined : `the block that makes run ${missing} was skipped`;
}

/** Writes the block to a file and tells how to run it; JavaScript is type-checked against the built package first. */
async function commandsFor({ language, line }: Block, text: string, folder: string): Promise<string[][]> {
  const file = (ending: string) => join(folder, `block-${line}.${ending}`);
  switch (language) {
    case 'sh':
    case 'bash':
      return [['bash', '-euo', 'pipefail', '-c', text]];
    case 'python':
      writeFileSync(file('py'), text);
      return [[python ?? 'python3', file('py')]];
    case 'js': {
      writeFileSync(file('mjs'), text);
      const check = ['--noEmit', '--allowJs', '--checkJs', '--strict', '--skipLibCheck'];
      const target = ['--module', 'nodenext', '--target', 'es2023'];
      const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types')];
      const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
      return [
        [process.execPath, compiler, ...check, ...target, ...types, file('mjs')],
        [process.execPath, file('mjs')],
      ];
    }
    default:
      throw new Error(`blocks of ${language} cannot be run`);
  }
}

/** Not spawnSync: the server that the command talks to lives in this process. */
function execute(
  [program = '', ...args]: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env: { ...userEnv, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, output }));
  });
}
