import { describe, expect, test } from 'vitest';
import { averageEma, averageMean, type ShadowkeepClient } from '../../src/client/index.js';
import { eventually, f32, startService } from '../client/support.js';
import { jsonLines, runCommand, startAtTerminal, startCommand, succeed, TERMINAL } from './run-command.js';

async function pushSteps(client: ShadowkeepClient, count: number): Promise<void> {
  const run = await client.openRun({
    run: 'digits',
    tensors: [
      { name: 'w', dtype: 'F32', shape: [2, 3] },
      { name: 'n', dtype: 'I64', shape: [] },
    ],
    averages: [averageEma('ema', { decay: 0.75, start: 'FIRST' }), averageMean('swa', { precision: 'F64' })],
  });
  for (let step = 1; step <= count; step += 1)
    await run.update(step, { w: f32(1, 2, 3, 4, 5, 6), n: new BigInt64Array(1) });
  await run.close();
}

describe('runs', () => {
  test('as a table and as JSON', async () => {
    const { client, target } = await startService();
    expect(await succeed(['runs', '--target', target])).toBe('no runs\n');
    expect(await succeed(['runs', '--target', target, '--json'])).toBe('{"runs":[],"damaged":[]}\n');
    await pushSteps(client, 3);
    const [title, row, ...rest] = (await succeed(['runs'], { SHADOWKEEP_TARGET: target })).trimEnd().split('\n');
    expect(title).toMatch(/^RUN +STEP +DURABLE +STEPS\/S +TENSORS +PARAMETERS +SHADOWS +WRITERS +READERS +AVERAGES$/);
    expect(row).toMatch(/^digits +3 +- +[\d.]+ +2 +6 +[\d.]+ \w+ +0 +0 +ema, swa$/);
    expect(rest).toEqual([]);
    const json = await succeed(['runs'], { SHADOWKEEP_TARGET: target, SHADOWKEEP_JSON: '1' });
    expect(jsonLines(json)).toMatchObject([{ runs: [{ run: 'digits', committedStep: 3, commits: 3 }] }]);
    expect(await succeed(['runs'], { SHADOWKEEP_TARGET: target, SHADOWKEEP_JSON: 'no' })).toContain('RUN');
  });
});

describe('describe', () => {
  test('for people and for programs', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 2);
    const text = await succeed(['describe', 'digits', '--target', target, '--tensors']);
    expect(text).toMatch(/^run +digits\ngeneration +\d+\ncommitted step +2, /);
    expect(text).toMatch(/^connected +0 of 1 writers, 0 readers$/m);
    expect(text).toMatch(/^retained +-$/m);
    expect(text).not.toMatch(/^WRITER/m);
    expect(text).toMatch(/^ema +2 +0\.25 +0 % +0 % +constant\(decay 0\.75\), start FIRST, precision F32$/m);
    expect(text).toMatch(/^swa +2 +0\.5 +0 % +0 % +mean, start FIRST, precision F64$/m);
    expect(text).toMatch(/^w +F32 +\[2, 3\] +AVERAGE$/m);
    expect(text).toMatch(/^n +I64 +\[\] +COPY$/m);
    const [run, ...rest] = jsonLines(await succeed(['describe', 'digits', '--target', target, '--json']));
    expect(rest).toEqual([]);
    expect(run).toMatchObject({
      run: 'digits',
      committedStep: 2,
      tensorCount: 2,
      tensors: [{ name: 'w' }, { name: 'n' }],
    });
  });

  test('of a run that several write, and whose versions are kept', async () => {
    const { client, target } = await startService();
    const runs = await Promise.all(
      [0, 1].map((writer) =>
        client.openRun({
          run: 'digits',
          tensors: [{ name: 'w', dtype: 'F32', shape: [2, 3] }],
          averages: [averageMean('m')],
          writers: 2,
          writer,
          boxes: [{ tensor: 'w', offset: [writer, 0], extent: [1, 3] }],
          retain: { everySteps: 1, countMax: 2 },
        }),
      ),
    );
    for (const step of [1, 2, 3]) await Promise.all(runs.map((run) => run.update(step, [f32(1, 2, 3)])));
    await runs[0]!.update(4, [f32(1, 2, 3)]).sent;
    await eventually(async () => (await client.getRun('digits')).writerStates[1]?.lagSteps).toBe(1);
    const text = await succeed(['describe', 'digits', '--target', target]);
    expect(text).toMatch(/^connected +2 of 2 writers, 0 readers$/m);
    expect(text).toMatch(/^retained +steps 2, 3, the newest 2 of every 1 steps$/m);
    expect(text).toMatch(/^WRITER +CONNECTED +STEP +SENDS +RECEIVING +LAG$/m);
    expect(text).toMatch(/^ +0 +yes +4 +64 B +- +-$/m);
    expect(text).toMatch(/^ +1 +yes +3 +64 B +- +1 step, [\d.]+ m?s$/m);
    for (const run of runs) run.abort();
  });

  test('of a run that does not exist', async () => {
    const { target } = await startService();
    expect(await runCommand(['describe', 'nope', '--target', target])).toEqual({
      status: 1,
      stdout: '',
      stderr: 'shadowkeep: run "nope" does not exist (RUN_NOT_FOUND)\n',
    });
  });
});

describe('watch', () => {
  test('prints each commit until its step', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const watch = startCommand(['watch', 'digits', '--target', target, '--until-step', '3']);
    await eventually(() => watch.printed.stdout).toContain('step 1 ');
    await pushSteps(client, 2);
    await eventually(() => watch.printed.stdout).toContain('step 2 ');
    await pushSteps(client, 3);
    expect(await watch.outcome).toEqual({
      status: 0,
      stdout: [
        'step 1  durable -  ema: 1 updates, weight 1  swa: 1 updates, weight 1',
        'step 2  durable -  ema: 2 updates, weight 0.25  swa: 2 updates, weight 0.5',
        'step 3  durable -  ema: 3 updates, weight 0.25  swa: 3 updates, weight 0.333333',
        '',
      ].join('\n'),
      stderr: '',
    });
  });

  test('JSON lines, and an end by a signal', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const watch = startCommand(['watch', 'digits', '--target', target, '--json']);
    await eventually(() => watch.printed.stdout).toContain('\n');
    expect(jsonLines(watch.printed.stdout)).toEqual([
      {
        run: 'digits',
        generation: expect.any(Number),
        committedStep: 1,
        averages: [
          { name: 'ema', numUpdates: 1, weight: 1 },
          { name: 'swa', numUpdates: 1, weight: 1 },
        ],
      },
    ]);
    watch.child.kill('SIGINT');
    const { status, stderr } = await watch.outcome;
    expect(status).toBe(130);
    const error = { reason: 'INTERRUPTED', message: 'interrupted by SIGINT', exitStatus: 130 };
    expect(jsonLines(stderr)).toEqual([{ error }]);
  });

  test('of a run that is deleted', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const watch = startCommand(['watch', 'digits', '--target', target]);
    await eventually(() => watch.printed.stdout).toContain('step 1');
    await client.deleteRun('digits');
    expect(await watch.outcome).toMatchObject({ status: 1, stderr: expect.stringContaining('(RUN_DELETED)') });
  });
});

describe('delete', () => {
  test('with --yes', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    expect(await succeed(['delete', 'digits', '--target', target, '--yes'])).toMatch(/^deleted digits, .* freed\n$/);
    const again = await runCommand(['delete', 'digits', '--target', target, '--yes', '--json']);
    expect(again).toMatchObject({ status: 1, stdout: '' });
    expect(jsonLines(again.stderr)).toEqual([
      {
        error: {
          reason: 'RUN_NOT_FOUND',
          message: 'run "digits" does not exist',
          exitStatus: 1,
          metadata: expect.anything(),
        },
      },
    ]);
  });

  test('refuses where nobody can be asked', async () => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    expect((await runCommand(['delete', 'digits', '--target', target])).status).toBe(2);
    expect((await client.getRun('digits')).committedStep).toBe(1);
  });

  test.skipIf(!TERMINAL.isAble).each([
    ['the end of the input', '\x04'],
    ['Ctrl-C', '\x03'],
  ])(`%s is an answer too${TERMINAL.note}`, async (_what, key) => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const asking = startAtTerminal(['delete', 'digits', '--target', target]);
    await eventually(() => asking.printed.stdout).toContain('Type its name: ');
    asking.child.stdin.write(key);
    expect(await asking.outcome).toMatchObject({ status: 1, stdout: expect.stringContaining('(NOT_CONFIRMED)') });
    expect(await client.listRuns()).toHaveLength(1);
  });

  test.skipIf(!TERMINAL.isAble).each([
    ['yes', 1, 'not deleted', 1],
    ['digits', 0, 'deleted digits', 0],
  ])(`asks at a terminal: %s${TERMINAL.note}`, async (answer, status, said, left) => {
    const { client, target } = await startService();
    await pushSteps(client, 1);
    const asking = startAtTerminal(['delete', 'digits', '--target', target]);
    await eventually(() => asking.printed.stdout).toContain('Type its name: ');
    asking.child.stdin.write(`${answer}\n`);
    expect(await asking.outcome).toMatchObject({ status, stdout: expect.stringContaining(said) });
    expect(await client.listRuns()).toHaveLength(left);
  });
});

describe('health', () => {
  test('of a service that serves, and of none', async () => {
    const { server, target } = await startService();
    expect(await succeed(['health', '--target', target])).toBe('SERVING\n');
    expect(await succeed(['health', '--target', target, '--json'])).toBe('{"status":"SERVING"}\n');
    await server.stop();
    expect(await runCommand(['health', '--target', target])).toEqual({
      status: 1,
      stdout: '',
      stderr: `shadowkeep: cannot reach the service at ${target}: connect ECONNREFUSED ${target} (UNAVAILABLE)\n`,
    });
  });
});
