import { describe, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import type { RunningServer } from '../../src/server/index.js';
import { NaiveEma, openCrew, partOf, shards, TENSORS, type TestBox, type ValueOf } from './crew.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve, serveReal } from './harness.js';
import { newDataDir, openLife, pushAll, RETAIN, valuesOf, type WireDType } from './lives.js';
import { read } from './read.js';
import { Upload } from './upload.js';

const FENCED = (old: number, now: number): RegExp =>
  new RegExp(`^generation ${old} of run "r" was fenced, ${now} is open: another trainer`);

describe('a trainer that comes back with other writers', () => {
  test('4, then 2, then 3, cut otherwise, in other dtypes: the run goes on, zombies change nothing', async () => {
    const client = rawClient(await serve({ reconnectGraceMs: 60_000 }));
    const naive = new NaiveEma(TENSORS);
    let zombies: Upload[] = [];
    let step = 0;
    const lives = [
      { writers: 4, dim: 0, dtype: 'F32' },
      { writers: 2, dim: 1, dtype: 'F64' },
      { writers: 3, dim: 0, dtype: 'BF16' },
      { writers: 1, dim: 0, dtype: 'F32' },
    ] as const;
    for (const [index, { writers, dim, dtype }] of lives.entries()) {
      const opened = await openLife(client, `life ${index}`, { writers });
      expect(opened).toMatchObject({ generation: index + 1, writers, created: index === 0 });
      for (const zombie of zombies) {
        const metadata = await expectError(
          zombie.failure(),
          'ABORTED',
          'GENERATION_FENCED',
          new RegExp(`^generation ${index + 1} of run "r" has begun: another`),
        );
        expect(metadata).toEqual({ generation: `${index + 1}` });
      }
      // When the new life may begin, nothing of the old one is left.
      const now = await ask(client, 'GetRun');
      expect(now).toMatchObject({ staging_bytes: 0, writers, memory: { staging_bytes: 0, pinned_bytes: 0 } });
      expect(now).not.toHaveProperty('staging_step');
      if (index > 0) {
        const before = await pictureOf(client);
        await expectError(
          openLife(client, `life ${index - 1}`),
          'ABORTED',
          'GENERATION_FENCED',
          FENCED(index, index + 1),
        );
        await expectError(
          new Upload(client)
            .open(index, { takeover: true })
            .push(step + 1, Buffer.alloc(192))
            .failure(),
          'ABORTED',
          'GENERATION_FENCED',
          FENCED(index, index + 1),
        );
        expect(await pictureOf(client)).toEqual(before);
      }
      const parts = shards(TENSORS, writers, dim);
      const crew = await openCrew(client, opened.generation, parts, { wire_dtype: dtype });
      for (const end = step + 3; step < end; ) {
        step += 1;
        expect(await pushAll(crew, parts, step, valuesOf(step), dtype)).toBe('COMMITTED');
        naive.fold(valuesOf(step));
        const { header, bytes } = await read(client);
        expect(header).toMatchObject({ step, num_updates: step, generation: index + 1 });
        expect(bytes).toEqual(naive.bytes);
      }
      // The trainer dies in the middle of the next step: one writer has sent all of its part, the last one half.
      crew[0]!.push(step + 1, partOf(TENSORS, parts[0]!, valuesOf(99), dtype));
      if (writers > 1) {
        crew.at(-1)!.chunk(step + 1, 0, Buffer.alloc(64, 0xff));
        await eventually(async () => {
          const { writer_states } = await ask(client, 'GetRun');
          return writer_states[0]?.step === step + 1 && writer_states.at(-1)?.received_bytes === 64 ? true : undefined;
        });
      }
      zombies = writers > 1 ? crew : [];
    }
  });

  test('what the old life had staged makes room for the new one, where both do not fit', async () => {
    const client = rawClient(await serve({ memoryBytes: 64 << 20, reconnectGraceMs: 60_000 }));
    const elements = 4 << 20;
    const request = { ...SMALL, tensors: [{ name: 'w', dtype: 'F32' as const, shape: [elements] }], writers: 2 };
    const half = elements / 2;
    const parts = [0, half].map((offset): TestBox[] => [{ tensor: 0, offset: [offset], extent: [half] }]);
    const piece = Buffer.alloc(1 << 20);
    const send = (upload: Upload, step: number, bytes: number): void => {
      for (let offset = 0; offset < bytes; offset += piece.length) upload.chunk(step, offset, piece);
      upload.commit(step, bytes);
    };
    const { generation } = await openRun(client, { ...request, incarnation: 'a' });
    const old = await openCrew(client, generation, parts);
    for (const upload of old) send(upload, 1, half * 4);
    for (const upload of old) await upload.ack();
    // The run has 16 MiB of shadow, and two steps of 16 MiB in flight.
    for (const step of [2, 3]) send(old[0]!, step, half * 4);
    const staged = await eventually(async () => {
      const { writer_states, memory } = await ask(client, 'GetRun');
      return writer_states[0]?.step === 3 ? memory!.staging_bytes : undefined;
    });
    expect(Number(staged)).toBe(32 << 20);
    // One step in F64 has 32 MiB. Together with the old life's memory that is 80 MiB.
    const opened = await openRun(client, { ...request, incarnation: 'b' });
    const crew = await openCrew(client, opened.generation, parts, { wire_dtype: 'F64' });
    for (const upload of old) {
      await expectError(upload.failure(), 'ABORTED', 'GENERATION_FENCED', /^generation 2 of run "r" has begun: /);
    }
    for (const upload of crew) send(upload, 2, half * 8);
    for (const upload of crew) expect(await upload.ack()).toMatchObject({ step: 2, state: 'COMMITTED' });
    expect((await read(client, { boxes: [{ offset: [0], extent: [1] }] })).header).toMatchObject({
      step: 2,
      num_updates: 2,
    });
  });

  test('the other processes of the same life get the same generation, and disturb nobody', async () => {
    const client = rawClient(await serve());
    const first = await openLife(client, 'a', { writers: 2, retain: RETAIN });
    const parts = shards(TENSORS, 2);
    const crew = await openCrew(client, first.generation, parts);
    expect(await pushAll(crew, parts, 2, valuesOf(2))).toBe('COMMITTED');
    expect(await openLife(client, 'a', { writers: 2, retain: RETAIN })).toMatchObject({
      generation: first.generation,
      created: false,
      writers: 2,
      committed_step: 2,
      retained_steps: [2],
    });
    expect(await openLife(client, ''), 'of no life').toMatchObject({ generation: first.generation, writers: 2 });
    expect(await pushAll(crew, parts, 3, valuesOf(3))).toBe('COMMITTED');
  });
});

test('the generation that created a run is told by all answers, over restarts, and by no other run of its name', async () => {
  const dataDir = await newDataDir();
  const first = await serveReal({ dataDir });
  const created = await openLife(rawClient(first), 'a');
  expect(created.first_generation).toBe(created.generation);
  await first.stop();
  const second = await serveReal({ dataDir });
  const client = rawClient(second);
  const again = await openLife(client, 'b');
  expect(again.generation).toBeGreaterThan(Number(created.generation));
  expect(again.first_generation).toBe(created.first_generation);
  await second.stop();
  const third = rawClient(await serveReal({ dataDir }));
  expect(await ask(third, 'GetRun')).toMatchObject({ first_generation: created.first_generation });
  const { runs } = await ask(third, 'ListRuns', {});
  expect(runs).toMatchObject([{ first_generation: created.first_generation }]);
  await ask(third, 'DeleteRun');
  const other = await openLife(third, 'c');
  expect(other.first_generation).toBe(other.generation);
  expect(other.first_generation).not.toBe(created.first_generation);
});

describe('a step that a later life sends again', () => {
  const [two, three] = [shards(TENSORS, 2), shards(TENSORS, 3, 1)];

  /** Starts a first life with two writers, which commits three steps. */
  async function committed(): Promise<{ dataDir: string; server: RunningServer; client: ShadowWeightsClient }> {
    const dataDir = await newDataDir();
    const server = await serve({ dataDir });
    const client = rawClient(server);
    const crew = await openCrew(client, (await openLife(client, 'a', { writers: 2 })).generation, two);
    for (const step of [1, 2, 3]) await pushAll(crew, two, step, valuesOf(step));
    for (const upload of crew) await upload.end();
    return { dataDir, server, client };
  }

  async function newLife(client: ShadowWeightsClient, wire_dtype: WireDType = 'F32'): Promise<Upload[]> {
    const { generation } = await openLife(client, 'b', { writers: 3 });
    return await openCrew(client, generation, three, wire_dtype === 'F32' ? {} : { wire_dtype });
  }

  const conflict =
    /^step 2 was committed with other content: rewind to a retained version \(resume_step\), or go on with steps after 3$/;

  async function checkReplays(client: ShadowWeightsClient): Promise<void> {
    const before = await pictureOf(client);
    const crew = await newLife(client);
    for (const step of [1, 2, 3]) expect(await pushAll(crew, three, step, valuesOf(step))).toBe('ALREADY_COMMITTED');
    for (const upload of crew) await upload.end();
    expect(await pictureOf(client), 'acknowledged, and nothing else').toEqual({
      ...before,
      generation: 2,
      memory: expect.anything(),
    });
    // One element of one writer has another value.
    const crew2 = await openCrew(client, 2, three);
    const other: ValueOf = (tensor, index) => valuesOf(2)(tensor, index) + (tensor === 0 && index === 14 ? 1 : 0);
    for (const [writer, upload] of crew2.entries()) upload.push(2, partOf(TENSORS, three[writer]!, other));
    for (const upload of crew2) {
      const metadata = await expectError(upload.failure(), 'ALREADY_EXISTS', 'STEP_CONFLICT', conflict);
      expect(metadata).toEqual({ step: '2', committedStep: '3' });
    }
    const { shadows, states, committed_step } = (await pictureOf(client)) as Record<string, unknown>;
    expect({ shadows, states, committed_step }).toMatchObject({
      shadows: (before as Record<string, unknown>)['shadows'],
      states: (before as Record<string, unknown>)['states'],
      committed_step: 3,
    });
    const crew3 = await openCrew(client, 2, three);
    expect(await pushAll(crew3, three, 4, valuesOf(4))).toBe('COMMITTED');
    expect((await read(client)).header).toMatchObject({ num_updates: 4 });
  }

  test('is acknowledged, however it is cut; with other content it ends all streams', async () => {
    await checkReplays((await committed()).client);
  });

  test('the same over a restart of the server: what the steps were is kept with them', async () => {
    const { dataDir, server } = await committed();
    await server.stop();
    await checkReplays(rawClient(await serve({ dataDir })));
  });

  test('in another dtype of the wire it cannot be told apart, and is acknowledged', async () => {
    const crew = await newLife((await committed()).client, 'BF16');
    expect(await pushAll(crew, three, 2, valuesOf(50), 'BF16')).toBe('ALREADY_COMMITTED');
    expect(await pushAll(crew, three, 4, valuesOf(4), 'BF16')).toBe('COMMITTED');
  });
});
