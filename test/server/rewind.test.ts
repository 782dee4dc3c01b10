import { describe, expect, test } from 'vitest';
import { stalledReader } from './bare-http2.js';
import { NaiveEma, shards, TENSORS } from './crew.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { live, newDataDir, openLife, pushAll, RETAIN, valuesOf } from './lives.js';
import { read } from './read.js';
import { Upload } from './upload.js';

describe('a trainer that restarts from an older checkpoint', () => {
  test('is refused, and told its choices; to go on at the committed step is one', async () => {
    const client = rawClient(await serve());
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    await live(client, generation, 1, 9);
    const before = await pictureOf(client);
    for (const trainer_step of [1, 8]) {
      const metadata = await expectError(
        openLife(client, 'b', { trainer_step }),
        'FAILED_PRECONDITION',
        'TRAINER_BEHIND',
        new RegExp(
          `^run "r" has committed step 9, the trainer comes back from step ${trainer_step}: go on without trainer_step, ` +
            'steps up to 9 are acknowledged and not folded, or rewind with resume_step; retained are steps \\[4, 6, 8\\]$',
        ),
      );
      expect(metadata).toEqual({ trainerStep: `${trainer_step}`, committedStep: '9' });
    }
    for (const [trainer_step, reason] of [
      [0, 'RUN_HAS_COMMITS'],
      [10, 'RUN_BEHIND'],
    ] as const) {
      const refused = openLife(client, 'b', { trainer_step });
      const metadata = await expectError(refused, 'FAILED_PRECONDITION', reason, /^run "r" has committed step 9, /);
      expect(metadata).toEqual({ trainerStep: `${trainer_step}`, committedStep: '9' });
    }
    expect(await pictureOf(client), 'nobody was fenced').toEqual(before);
    expect(await openLife(client, 'b', { trainer_step: 9 })).toMatchObject({ generation: 2, committed_step: 9 });
    expect(await openLife(client, 'c')).toMatchObject({ generation: 3, committed_step: 9, retained_steps: [4, 6, 8] });
  });

  test.each([
    [6, 6, [4, 6]],
    [7, 6, [4, 6]],
    [5, 4, [4]],
    [8, 8, [4, 6, 8]],
    [9, 9, [4, 6, 8, 9]],
    [1_000, 9, [4, 6, 8, 9]],
  ])('rewinds to step %i: the run goes on from %i', async (resume_step, base, retained) => {
    const client = rawClient(await serve());
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    const were = await live(client, generation, 1, 9);
    const { memory } = await ask(client, 'GetRun');
    const events = client.watchRun({ run: 'r' })[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({ committed_step: 9, generation: 1 });
    const opened = await openLife(client, 'b', { resume_step });
    expect(opened).toMatchObject({ generation: 2, committed_step: base });
    if (base < 9) {
      expect(opened.retained_steps).toEqual(retained);
      expect((await events.next()).value).toMatchObject({ committed_step: base, generation: 2 });
    }
    const { header, bytes } = await read(client);
    expect(header).toMatchObject({ step: base, num_updates: base });
    expect(bytes, 'as it was').toEqual(were.get(base));
    await expectError(read(client, { step: 10 }), 'NOT_FOUND', 'VERSION_NOT_FOUND', /step 10 has not come yet/);
    if (base < 9) {
      await expectError(
        read(client, { step: base + 1 }),
        'NOT_FOUND',
        'VERSION_NOT_FOUND',
        new RegExp(`^run "r": step ${base + 1} has not come yet, the newest is ${base}$`),
      );
    }
    // The trainer pushes other weights now. What was committed before the rewind must not conflict with them.
    const upload = new Upload(client).open(2);
    const whole = shards(TENSORS, 1);
    const naive = new NaiveEma(TENSORS);
    for (let step = 1; step <= base; step++) naive.fold(valuesOf(step));
    for (let step = base + 1; step <= base + 3; step++) {
      expect(await pushAll([upload], whole, step, valuesOf(step, 1))).toBe('COMMITTED');
      naive.fold(valuesOf(step, 1));
      expect((await read(client)).bytes).toEqual(naive.bytes);
    }
    expect((await read(client)).header).toMatchObject({ num_updates: base + 3, generation: 2 });
    // The other processes of this life come later, with the same request.
    expect(await openLife(client, 'b', { resume_step })).toMatchObject({ generation: 2, committed_step: base + 3 });
    expect((await read(client)).bytes).toEqual(naive.bytes);
    await upload.end();
    expect((await ask(client, 'GetRun')).commits, 'of both lives').toBe(9 + 3);
    const held = (await ask(client, 'GetRun')).memory!;
    expect(held.pinned_bytes).toBeLessThanOrEqual(Number(memory!.pinned_bytes) + 4_096);
  });

  test('a version that is not kept is refused, with those that are', async () => {
    const client = rawClient(await serve());
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    await live(client, generation, 1, 9);
    const before = await pictureOf(client);
    const metadata = await expectError(
      openLife(client, 'b', { resume_step: 3 }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      /^run "r" has no version at or below step 3 to go on from: 9 is committed, retained are steps \[4, 6, 8\]$/,
    );
    expect(metadata).toEqual({ resumeStep: '3', committedStep: '9' });
    expect(await pictureOf(client)).toEqual(before);
  });

  test('a rewind ends what the old life was doing', async () => {
    const client = rawClient(await serve());
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    await live(client, generation, 1, 5);
    const zombie = new Upload(client).open(generation).chunk(6, 0, Buffer.alloc(64, 0xff));
    await eventually(async () => ((await ask(client, 'GetRun')).staging_bytes === 64 ? true : undefined));
    expect(await openLife(client, 'b', { resume_step: 4 })).toMatchObject({ generation: 2, committed_step: 4 });
    await expectError(
      zombie.failure(),
      'ABORTED',
      'GENERATION_FENCED',
      /^generation 2 of run "r" has begun: another trainer has taken over after step 5, /,
    );
    expect(await ask(client, 'GetRun')).toMatchObject({ staging_bytes: 0, committed_step: 4 });
  });

  test('a reader of an undone step keeps it to the end, others do not get it', async () => {
    const server = await serve();
    const client = rawClient(server);
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    const were = await live(client, generation, 1, 5);
    const { version } = (await read(client)).header;
    // The read has more messages than gRPC holds for a stream.
    const reader = stalledReader(server.port, { run: 'r', boxes: Array(20).fill({}), chunk_bytes: 16 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await openLife(client, 'b', { resume_step: 4 });
    await expectError(read(client, { step: 5 }), 'NOT_FOUND', 'VERSION_NOT_FOUND', /^run "r": step 5 has not come yet/);
    await expectError(
      read(client, { resume: { version, offset: 16 } }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      new RegExp(`^version ${version} of run "r" is no longer held$`),
    );
    expect((await read(client)).bytes).toEqual(were.get(4));
    await live(client, 2, 5, 6, 1);
    const received: Buffer[] = [];
    reader.stream.on('data', (data: Buffer) => received.push(data));
    reader.session.setLocalWindowSize(1 << 20);
    reader.session.settings({ initialWindowSize: 1 << 20 });
    expect(await reader.closed()).toMatchObject({ status: 0 });
    for (const [step, isThere] of [
      [5, true],
      [4, false],
    ] as const) {
      expect(Buffer.concat(received).includes(were.get(step)!.subarray(80, 96)), `bytes of step ${step}`).toBe(isThere);
    }
    reader.kill();
  });

  test('a rewind is what a restart of the server finds', async () => {
    const dataDir = await newDataDir();
    const first = await serve({ dataDir });
    const client = rawClient(first);
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    const were = await live(client, generation, 1, 7);
    await openLife(client, 'b', { resume_step: 5 });
    await first.stop();
    const again = rawClient(await serve({ dataDir }));
    expect((await read(again)).bytes).toEqual(were.get(4));
    expect(await openLife(again, 'b', { resume_step: 5 }), 'acts once').toMatchObject({
      generation: 2,
      committed_step: 4,
    });
    expect(await ask(again, 'GetRun')).toMatchObject({ retain: RETAIN, committed_step: 4 });
    await live(again, 2, 5, 6, 1);
  });
});

describe('retained versions', () => {
  test('are the newest of those that are asked for, and can be read', async () => {
    const client = rawClient(await serve());
    const { generation } = await openLife(client, 'a', { retain: RETAIN });
    const were = await live(client, generation, 1, 9);
    expect(await ask(client, 'GetRun')).toMatchObject({ retained_steps: [4, 6, 8], retain: RETAIN });
    for (const step of [4, 6, 8, 9]) expect((await read(client, { step })).bytes).toEqual(were.get(step));
    await expectError(
      read(client, { step: 7 }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      /^step 7 of run "r" is no longer held, the newest is 9$/,
    );
    expect(await openLife(client, 'a', { retain: { every_steps: 5, count_max: 1 } })).toMatchObject({ generation });
    const more = new Upload(client).open(generation);
    expect(await pushAll([more], shards(TENSORS, 1), 10, valuesOf(10))).toBe('COMMITTED');
    expect((await ask(client, 'GetRun')).retained_steps).toEqual([10]);
  });

  test('give way when the memory is needed: the trainer goes on', async () => {
    const client = rawClient(await serve({ memoryBytes: 64 << 20 }));
    const elements = 2_500_000;
    const { generation } = await openRun(client, {
      ...SMALL,
      tensors: [{ name: 'w', dtype: 'F32', shape: [elements] }],
      retain: { every_steps: 1, count_max: 64 },
    });
    const upload = new Upload(client).open(generation);
    const bytes = Number((await upload.opened()).step_bytes);
    for (let step = 1; step <= 12; step++) {
      const data = Buffer.alloc(bytes);
      new Float32Array(data.buffer, data.byteOffset, elements).fill(step);
      for (let offset = 0; offset < bytes; offset += 1 << 20)
        upload.chunk(step, offset, data.subarray(offset, offset + (1 << 20)));
      expect(await upload.commit(step, bytes).ack()).toMatchObject({ step, state: 'COMMITTED' });
    }
    const { retained_steps, memory } = await ask(client, 'GetRun');
    expect(retained_steps.length).toBeGreaterThan(0);
    expect(retained_steps.length, '10 MB each, beside the shadow and the step').toBeLessThan(6);
    expect(retained_steps, 'the newest').toEqual(
      Array.from({ length: retained_steps.length }, (_, at) => 13 - retained_steps.length + at),
    );
    expect(Number(memory!.budget_free_bytes)).toBeGreaterThanOrEqual(0);
  });
});
