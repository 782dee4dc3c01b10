import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { averageEma } from '../../src/client/index.js';
import { asF32, connectTo, eventually, f32, startService } from '../client/support.js';
import { jsonLines, type RunningCommand, runCommand, startCommand } from './run-command.js';

let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shadowkeep-serve-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const LAYOUT = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [2] }],
  averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' })],
} as const;

/** Starts `serve` on a free port and waits until it says on which. */
async function serve(args: readonly string[], variables: Record<string, string> = {}) {
  const command = startCommand(['serve', '--listen', '127.0.0.1:0', ...args], variables);
  await eventually(() => command.printed.stdout).toMatch(/listening.*\n/);
  const target = /127\.0\.0\.1:\d+/.exec(command.printed.stdout)![0];
  return { ...command, target };
}

async function stop({ child, outcome }: RunningCommand, signal: NodeJS.Signals = 'SIGTERM') {
  child.kill(signal);
  return await outcome;
}

describe('serve', () => {
  test('says where it listens, stops at SIGTERM, and loads what it saved', async () => {
    const first = await serve(['--data-dir', directory]);
    expect(first.printed.stdout).toBe(`no runs in ${directory}\nlistening on ${first.target}\n`);
    const client = connectTo(first.target);
    const run = await client.openRun(LAYOUT);
    await run.update(1, { w: f32(1, 1) });
    await run.update(2, { w: f32(3, 5) });
    await run.close();
    expect(await stop(first)).toMatchObject({ status: 0 });

    const second = await serve(['--data-dir', directory]);
    expect(second.printed.stdout).toBe(`loaded r at step 2\nlistening on ${second.target}\n`);
    const shadow = await connectTo(second.target).getShadow({ run: 'r' });
    expect(shadow).toMatchObject({ step: 2, numUpdates: 2, durableStep: 2 });
    expect(asF32(shadow.tensors.get('w')?.data)).toEqual([2, 3]);
    expect(await stop(second, 'SIGINT')).toMatchObject({ status: 0 });
  });

  test('prints exactly one JSON line, and JSON logs elsewhere', async () => {
    const server = await serve(['--json'], {
      SHADOWKEEP_DATA_DIR: 'none',
      SHADOWKEEP_MEMORY: '128MiB',
      SHADOWKEEP_KERNELS: 'scalar',
      SHADOWKEEP_LOG_LEVEL: 'debug',
    });
    const { stdout, stderr } = await stop(server);
    expect(stdout).toBe(`{"listening":"${server.target}"}\n`);
    expect(jsonLines(stderr)[0]).toMatchObject({ msg: 'listening', memoryBytes: 128 << 20, kernels: 'scalar' });
  });

  test('a writer that is connected hears that the service stops', async () => {
    const server = await serve(['--data-dir', 'none', '--log-level', 'silent']);
    const run = await connectTo(server.target).openRun({ ...LAYOUT, reconnect: false });
    const stopped = stop(server);
    await eventually(() => run.flush().catch((error) => error.reason ?? error.code)).toBe('SHUTTING_DOWN');
    expect(await stopped).toMatchObject({ status: 0, stderr: '' });
  });

  test('a port in use is said in one line', async () => {
    const { target } = await startService();
    expect(await runCommand(['serve', '--listen', target, '--data-dir', 'none'])).toEqual({
      status: 1,
      stdout: '',
      stderr: `shadowkeep: cannot listen on ${target}: the port is in use (EADDRINUSE)\n`,
    });
  });

  test('a data directory that another server holds is refused', async () => {
    const server = await serve(['--data-dir', directory]);
    const second = await runCommand(['serve', '--listen', '127.0.0.1:0', '--data-dir', directory]);
    expect(second).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/^shadowkeep: .*\(LOCKED\)\n$/),
    });
    await stop(server);
  });
});
