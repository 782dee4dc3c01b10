import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { averageMean } from '../../src/client/index.js';
import { SafetensorsWriter } from '../../src/storage/safetensors/writer.js';
import { f32, startPeer, startService } from '../client/support.js';
import { closedPort } from '../support/closed-port.js';
import { jsonLines } from './run-command.js';
import { runInProcess } from './run-in-process.js';

/** An address where nobody listens. */
const NOWHERE = `127.0.0.1:${await closedPort()}`;

let directory = '';
const file = (step: number) => join(directory, `step_${step}.safetensors`);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shadowkeep-exit-'));
  for (const [step, value] of [
    [1, 1],
    [2, Number.NaN],
    [3, 3],
  ] as const) {
    const writer = await SafetensorsWriter.create(file(step), [{ name: 'layer.w', dtype: 'F32', shape: [1] }]);
    await writer.write(new Uint8Array(f32(value).buffer));
    await writer.finish();
  }
});

afterAll(() => rmSync(directory, { recursive: true }));

/** Every command that asks a service for something about a run. */
const OF_A_RUN = [
  ['describe', 'none'],
  ['watch', 'none'],
  ['pull', 'none', '--out', 'OUT'],
  ['average', 'add', 'none', 'mean'],
  ['average', 'remove', 'none', 'mean'],
  ['delete', 'none', '--yes'],
];
const withOut = (args: readonly string[]) => args.map((arg) => (arg === 'OUT' ? join(directory, 'out/') : arg));

/** Expects a failure as one line for people and as one JSON object, with the same message and status, and no output. */
async function expectFailure(args: readonly string[], status: number, reason: string, message: RegExp): Promise<void> {
  const text = await runInProcess(args);
  expect(text).toMatchObject({ status, stdout: '' });
  expect(text.stderr).toMatch(message);
  expect(text.stderr).toMatch(/^shadowkeep: [^\n]*\n(\(--help tells more\)\n)?$/);
  const json = await runInProcess([...args, '--json']);
  expect(json).toMatchObject({ status, stdout: '' });
  const [{ error }, ...rest] = jsonLines(json.stderr) as [{ error: { message: string } }];
  expect(rest).toEqual([]);
  expect(error).toMatchObject({ reason, exitStatus: status });
  expect(text.stderr).toContain(error.message);
}

describe('the exit status says that it failed', () => {
  test.each([...OF_A_RUN, ['runs'], ['health'], ['push', 'r', 'STEP', '--mean', 'm']])(
    'where nobody listens: %s %s %s %s %s',
    async (...args) => {
      const words = withOut(args.filter((word) => word !== undefined)).map((word) =>
        word === 'STEP' ? file(1) : word,
      );
      await expectFailure(
        [...words, '--target', NOWHERE],
        1,
        'UNAVAILABLE',
        new RegExp(`cannot reach the service at ${NOWHERE}`),
      );
    },
  );

  test.each(OF_A_RUN)('where there is no such run: %s %s %s %s', async (...args) => {
    const { target } = await startService();
    const words = withOut(args.filter((word) => word !== undefined));
    await expectFailure([...words, '--target', target], 1, 'RUN_NOT_FOUND', /run "none" does not exist/);
  });

  test.each([
    ['http://127.0.0.1:50051'],
    ['127.0.0.1'],
    ['127.0.0.1:0'],
    ['127.0.0.1:99999'],
    [''],
    [':50051'],
    ['50051'],
    ['a b:1'],
  ])('where the target is none: %j', async (target) => {
    await expectFailure(['health', '--target', target], 2, 'USAGE', /--target must be HOST:PORT .*, got "/);
  });

  test.each([['grpc_proxy'], ['https_proxy'], ['http_proxy']])(
    'and names %s, which hides a service',
    async (variable) => {
      process.env[variable] = `http://${NOWHERE}`;
      try {
        const stderr = new RegExp(`cannot reach the service at nosuch\\.invalid:2: .*; ${variable} is set.*no_proxy`);
        await expectFailure(['runs', '--target', 'nosuch.invalid:2'], 1, 'UNAVAILABLE', stderr);
      } finally {
        delete process.env[variable];
      }
    },
  );

  test.each([
    ['status', /try "describe", "runs", "health"/],
    ['rm', /try "delete"/],
    ['download', /try "pull"/],
    ['psuh', /unknown command 'psuh' \(Did you mean push\?\)/],
    ['fly', /unknown command 'fly'$/m],
  ])('where the command is another: %s', async (word, message) => {
    await expectFailure([word], 2, 'USAGE', message);
  });

  test('where a watch ends before its step', async () => {
    const { target } = await startPeer({
      WatchRun: (call: ServerWritableStream<object, object>) => call.end(),
    });
    await expectFailure(
      ['watch', 'r', '--until-step', '9', '--target', target],
      1,
      'WATCH_ENDED',
      /ended the watch of r/,
    );
  });
});

describe('push', () => {
  const push = (target: string, ...args: string[]) => runInProcess(['push', 'r', ...args, '--target', target]);

  test('of a step that is rejected names it and its tensor, and sends no more', async () => {
    const { client, target } = await startService();
    const { status, stdout, stderr } = await push(target, file(1), file(2), file(3), '--mean', 'm');
    expect({ status, lines: stdout.trimEnd().split('\n') }).toEqual({
      status: 1,
      lines: [expect.stringMatching(/^step 1 COMMITTED: /)],
    });
    expect(stderr).toMatch(
      /^shadowkeep: step 2 of .*step_2\.safetensors is not in the run: .*layer\.w.*; 1 file after it not sent \(STEP_REJECTED\)\n$/,
    );
    expect((await client.getRun('r')).committedStep).toBe(1);
    const json = await push(target, file(2), '--json');
    expect(json.status).toBe(1);
    expect(jsonLines(json.stdout)).toMatchObject([
      { step: 2, state: 'REJECTED', detail: expect.stringContaining('layer.w') },
    ]);
    expect(jsonLines(json.stderr)).toMatchObject([{ error: { reason: 'STEP_REJECTED' } }]);
    expect((await push(target, file(1), file(3))).status).toBe(0);
  });

  test('of a step in which a tensor is skipped says so and goes on', async () => {
    const { client, target } = await startService();
    const tensors = [{ name: 'layer.w', dtype: 'F32', shape: [1] }] as const;
    const run = await client.openRun({ run: 'r', tensors, averages: [averageMean('m')], nonFinite: 'SKIP_TENSOR' });
    await run.update(1, { 'layer.w': f32(1) });
    await run.close();
    const { status, stdout } = await push(target, file(2), file(3));
    expect(status).toBe(0);
    expect(stdout).toMatch(/^step 2 COMMITTED \(.*layer\.w.*\): .*\nstep 3 COMMITTED: /);
  });

  test.each([
    ['SKIPPED', 3],
    ['DROPPED', 4],
  ])('of a step that is %s', async (state, number) => {
    const { target } = await startPeer({
      // The peer's definition has enum values as numbers: 12 is F32, and 3 is FIRST.
      GetRun: (_call: unknown, callback: (error: null, response: object) => void) =>
        callback(null, {
          run: 'r',
          tensors: [{ name: 'layer.w', dtype: 12, shape: [1] }],
          averages: [{ name: 'm', start: 3, mean: {} }],
          memory: {},
        }),
      OpenRun: (_call: unknown, callback: (error: null, response: object) => void) =>
        callback(null, { run: 'r', generation: 1, writers: 1 }),
      Update: (call: ServerDuplexStream<{ open?: object; commit?: { step: number } }, object>) => {
        call.on('end', () => call.end());
        call.on('data', ({ open, commit }) => {
          if (open) call.write({ opened: { step_bytes: 64, first_step_bytes: 64 } });
          if (commit) call.write({ ack: { step: commit.step, state: number } });
        });
      },
    });
    const { status, stderr } = await push(target, file(1));
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining(`(STEP_${state})`) });
  });
});
