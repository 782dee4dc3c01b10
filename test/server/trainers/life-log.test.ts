import { describe, expect, test } from 'vitest';
import type { Logger } from '../../../src/common/index.js';
import { LifeLog } from '../../../src/server/trainers/life-log.js';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL } from '../harness.js';
import { newDataDir } from '../lives.js';
import { f32Space } from '../read.js';
import { logLines, startServerProcess } from '../server-process.js';
import { Upload } from '../upload.js';

/** A line of the log without the fields that a test cannot know. */
const without = (line: Record<string, unknown>): object => {
  const { time, peer, problem, level, ...rest } = line;
  return rest;
};

test('the log of a real server tells the life of a run and of its writers', { timeout: 120_000 }, async () => {
  const server = await startServerProcess(await newDataDir(), 0, ['--step-timeout', '10m']);
  const client = rawClient(server);
  const request = { ...SMALL, retain: { every_steps: 1, count_max: 2 } };
  const line = async (msg: string, fields: object = {}): Promise<object> => {
    const found = await eventually(() => logLines(server).findLast((logged) => logged['msg'] === msg));
    expect(found, msg).toMatchObject(fields);
    return without(found);
  };

  const old = await openRun(client, { ...request, incarnation: 'old' });
  const { generation } = old;
  expect(await line('trainer attached')).toEqual({
    msg: 'trainer attached',
    run: 'r',
    generation,
    incarnation: 'old',
    writers: 1,
  });
  const first = new Upload(client).open(generation);
  await first.push(1, f32Space([1, 1, 1, 1])).ack();
  await first.push(2, f32Space([1, 1, 1, 1])).ack();
  await line('writer opened its stream', { run: 'r', generation, writer: 0, peer: expect.stringMatching(/127.0.0.1/) });
  first.chunk(3, 0, f32Space([1, 1, 1, 1]).subarray(0, 16));
  await eventually(async () => ((await ask(client, 'GetRun')).staging_bytes === 16 ? true : undefined));
  first.break();
  await line('writer lost its stream', {
    run: 'r',
    writer: 0,
    step: 3,
    receivedBytes: 16,
    why: 'PEER_GONE',
    level: 40,
  });
  const again = new Upload(client).open(generation, { takeover: true });
  await again.opened();
  await line('writer goes on in a step', { run: 'r', generation, step: 3, receivedBytes: 16 });

  await openRun(client, { ...request, incarnation: 'old' });
  await line('trainer attached again', { run: 'r', generation, incarnation: 'old', committedStep: 2 });
  const young = await openRun(client, { ...request, incarnation: 'young', resume_step: 1 });
  await line('trainer attached, the one before is fenced', {
    generation: young.generation,
    fencedGeneration: generation,
    incarnation: 'young',
  });
  await line('run rewound', { run: 'r', fromStep: 2, committedStep: 1, level: 40 });
  await expectError(again.failure(), 'ABORTED', 'GENERATION_FENCED', /has begun/);
  await eventually(() => logLines(server).find(({ why }) => why === 'GENERATION_FENCED'));
  await line('writer lost its stream', { why: 'GENERATION_FENCED', generation });
  const late = new Upload(client).open(generation, { takeover: true });
  await expectError(late.failure(), 'ABORTED', 'GENERATION_FENCED', /was fenced/);
  await line('writer refused', { run: 'r', generation, writer: 0, takeover: true, why: 'GENERATION_FENCED' });
  await expectError(openRun(client, { ...request, incarnation: 'old' }), 'ABORTED', 'GENERATION_FENCED', /was fenced/);
  await line('trainer refused', { why: 'GENERATION_FENCED', problem: expect.stringMatching(/was fenced/) });

  const last = new Upload(client).open(young.generation);
  await last.opened();
  await last.end();
  await line('writer closed its stream', { run: 'r', generation: young.generation, writer: 0, committedStep: 1 });
  await ask(client, 'DeleteRun');
  await line('run deleted', { run: 'r' });
  expect(await server.stop()).toBe(0);
});

test('a step that is dropped is a line', { timeout: 120_000 }, async () => {
  const server = await startServerProcess(await newDataDir(), 0, ['--step-timeout', '200ms']);
  const client = rawClient(server);
  const { generation } = await openRun(client, { ...SMALL, incarnation: 'a' });
  const upload = new Upload(client).open(generation).chunk(7, 0, f32Space([1, 1, 1, 1]).subarray(0, 16));
  await expectError(upload.failure(), 'DEADLINE_EXCEEDED', 'STEP_TIMEOUT', /7/);
  const line = await eventually(() => logLines(server).find(({ msg }) => msg === 'step dropped'));
  expect(line).toMatchObject({ level: 40, run: 'r', generation, step: 7, stepTimeoutMs: 200 });
  expect(await server.stop()).toBe(0);
});

describe('the rate of the lines of one kind', () => {
  test('is bounded, and what is left out is counted', () => {
    const written: [string, object][] = [];
    const log = {
      info: (fields: object, text: string) => written.push([text, fields]),
      warn: (fields: object, text: string) => written.push([text, fields]),
    } as unknown as Logger;
    let nowMs = 0;
    const life = new LifeLog(log, () => nowMs);
    for (let index = 0; index < 1_000; index++) life.info('a', { index });
    expect(written).toHaveLength(200);
    life.warn('b', {});
    expect(written, 'another kind has its own').toHaveLength(201);
    nowMs = 1_000;
    for (let index = 0; index < 10; index++) life.info('a', { index });
    expect(written).toHaveLength(206);
    expect(written[201]).toEqual(['a', { index: 0, suppressed: 800 }]);
    nowMs = 10_000_000;
    for (let index = 0; index < 1_000; index++) life.info('a', { index });
    expect(written).toHaveLength(406);
    expect(written[206]).toEqual(['a', { index: 0, suppressed: 5 }]);
  });
});
