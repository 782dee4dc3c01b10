import { describe, expect, test } from 'vitest';
import { NaiveEma, openCrew, partOf, shards, TENSORS, type TestBox, type TestTensor, type ValueOf } from './crew.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { read } from './read.js';
import { Upload } from './upload.js';
import { openWorld, spaceOf, TWO, valuesOf } from './world-of-two.js';

describe('a step of several writers', () => {
  test('is committed when all have sent their part, whoever is last, and acknowledged to all', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 4);
    // The last writer sends nothing.
    const parts = [...shards(TENSORS, 3, 1), []];
    const crew = await openCrew(client, generation, parts);
    const naive = new NaiveEma(TENSORS);
    for (let step = 1; step <= 8; step++) {
      const last = step % 4;
      const send = (writer: number): Upload => crew[writer]!.push(step, spaceOf(parts[writer]!, step));
      for (const writer of [0, 1, 2, 3]) if (writer !== last) send(writer);
      await eventually(async () => {
        const { writer_states } = await ask(client, 'GetRun');
        return writer_states.every((state) => state.writer === last || state.step === step) ? true : undefined;
      });
      const { committed_step } = await ask(client, 'GetRun');
      expect(committed_step, 'nobody sees a part').toBe(step === 1 ? undefined : step - 1);
      expect(crew.map(({ answerCount }) => answerCount)).toEqual([0, 0, 0, 0]);
      send(last);
      for (const upload of crew)
        expect(await upload.ack()).toMatchObject({ step, state: 'COMMITTED', committed_step: step });
      const { header, bytes } = await read(client);
      expect(bytes).toEqual(naive.fold(valuesOf(step)).bytes);
      expect(header).toMatchObject({ step, num_updates: naive.updates, generation });
    }
    expect(await ask(client, 'GetRun')).toMatchObject({ commits: 8, writers: 4 });
  });

  test('a writer that is ahead is held back, and GetRun says who is late', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const [fast, slow] = (await openCrew(client, generation, TWO)) as [Upload, Upload];
    const [mine, other] = TWO as [TestBox[], TestBox[]];
    fast.push(1, spaceOf(mine, 1));
    slow.push(1, spaceOf(other, 1));
    await Promise.all([fast.ack(), slow.ack()]);
    for (let step = 2; step <= 9; step++) fast.push(step, spaceOf(mine, step));
    await eventually(async () => ((await ask(client, 'GetRun')).writer_states[0]?.step === 3 ? true : undefined));
    const partBytes = spaceOf(mine, 1).length;
    const held = async (): Promise<void> => {
      const { bytes_received, writer_states } = await ask(client, 'GetRun');
      expect(Number(bytes_received), 'of the first step of both, and of two more').toBe(4 * partBytes);
      expect(writer_states).toMatchObject([
        { writer: 0, connected: true, step: 3, lag_steps: 0, lag_ms: 0 },
        { writer: 1, connected: true, step: 1, lag_steps: 2 },
      ]);
      expect(writer_states[0]).not.toHaveProperty('receiving_step');
    };
    await held();
    await new Promise((resolve) => setTimeout(resolve, 60));
    await held();
    const { lag_ms } = (await ask(client, 'GetRun')).writer_states[1]!;
    expect(lag_ms).toBeGreaterThanOrEqual(50);
    slow.chunk(2, 0, spaceOf(other, 2).subarray(0, 64));
    const receiving = await eventually(async () => {
      const [, state] = (await ask(client, 'GetRun')).writer_states;
      return state?.receiving_step === 2 ? state : undefined;
    });
    expect(receiving).toMatchObject({ received_bytes: 64, step_bytes: 128, lag_steps: 2 });
    slow.chunk(2, 64, spaceOf(other, 2).subarray(64)).commit(2, 128);
    for (let step = 3; step <= 9; step++) slow.push(step, spaceOf(other, step));
    const naive = new NaiveEma(TENSORS).fold(valuesOf(1));
    for (let step = 2; step <= 9; step++) {
      expect([await fast.ack(), await slow.ack()]).toMatchObject(Array(2).fill({ step, state: 'COMMITTED' }));
      naive.fold(valuesOf(step));
    }
    expect((await read(client)).bytes).toEqual(naive.bytes);
    expect((await ask(client, 'GetRun')).writer_states).toMatchObject(
      Array(2).fill({ step: 9, lag_steps: 0, lag_ms: 0 }),
    );
  });

  test('that misses a writer is dropped whole, everybody is told, and the next one is committed', async () => {
    const client = rawClient(await serve({ stepTimeoutMs: 1_000 }));
    const generation = await openWorld(client, 2);
    const [first, late] = (await openCrew(client, generation, TWO)) as [Upload, Upload];
    const [mine, other] = TWO as [TestBox[], TestBox[]];
    first.push(1, spaceOf(mine, 1));
    late.push(1, spaceOf(other, 1));
    await Promise.all([first.ack(), late.ack()]);
    const { memory } = await ask(client, 'GetRun');
    first.push(2, spaceOf(mine, 2));
    expect(await first.ack()).toMatchObject({ step: 2, state: 'DROPPED', committed_step: 1, detail: '' });
    const after = await ask(client, 'GetRun');
    expect(after).toMatchObject({ staging_bytes: 0, committed_step: 1, memory });
    expect(after).not.toHaveProperty('staging_step');
    // Late parts of the dropped step are dropped too, whether they are whole or half.
    first.push(3, spaceOf(mine, 3));
    late.push(2, spaceOf(other, 2)).push(3, spaceOf(other, 3));
    expect([await late.ack(), await late.ack(), await first.ack()]).toMatchObject([
      { step: 2, state: 'DROPPED' },
      { step: 3, state: 'COMMITTED' },
      { step: 3, state: 'COMMITTED' },
    ]);
    const naive = new NaiveEma(TENSORS).fold(valuesOf(1)).fold(valuesOf(3));
    const { header, bytes } = await read(client);
    expect(header).toMatchObject({ step: 3, num_updates: 2 });
    expect(bytes).toEqual(naive.bytes);
  });

  test('a writer that stops in the middle of its part loses its stream, the others keep theirs', async () => {
    const client = rawClient(await serve({ stepTimeoutMs: 1_000 }));
    const generation = await openWorld(client, 2);
    const [first, late] = (await openCrew(client, generation, TWO)) as [Upload, Upload];
    const [mine, other] = TWO as [TestBox[], TestBox[]];
    late.chunk(1, 0, spaceOf(other, 1).subarray(0, 64));
    first.push(1, spaceOf(mine, 1));
    await expectError(
      late.failure(),
      'DEADLINE_EXCEEDED',
      'STEP_TIMEOUT',
      /^step 1 got no bytes for 1000 ms, 64 of 128 had arrived$/,
    );
    expect(await first.ack()).toMatchObject({ step: 1, state: 'DROPPED' });
    const back = new Upload(client).open(generation, { writer: 1, boxes: other });
    first.push(2, spaceOf(mine, 2));
    back.push(2, spaceOf(other, 2));
    expect([await first.ack(), await back.ack()]).toMatchObject(Array(2).fill({ step: 2, state: 'COMMITTED' }));
    expect((await read(client)).bytes).toEqual(new NaiveEma(TENSORS).fold(valuesOf(2)).bytes);
  });

  test.each([
    [{ skipped: true }, /^step 2 is skipped to writer 1, an update to the others$/, { step: '2', writer: '1' }],
    [{ initial: true }, /^initial push of step 2: run "r" has committed step 1$/, { step: '2', committedStep: '1' }],
  ])('the writers say the same of it: %j is refused', async (flags, text, metadata) => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const crew = await openCrew(client, generation, TWO);
    for (const [writer, upload] of crew.entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
    for (const upload of crew) await upload.ack();
    const [first, second] = crew as [Upload, Upload];
    first.push(2, spaceOf(TWO[0]!, 2));
    await eventually(async () => ((await ask(client, 'GetRun')).writer_states[0]?.step === 2 ? true : undefined));
    const failure = second.push(2, spaceOf(TWO[1]!, 2), flags).failure();
    const [code, reason] =
      'skipped' in flags
        ? (['INVALID_ARGUMENT', 'STEP_MISMATCH'] as const)
        : (['FAILED_PRECONDITION', 'INITIAL_TOO_LATE'] as const);
    expect(await expectError(failure, code, reason, text)).toEqual(metadata);
    const again = new Upload(client).open(generation, { writer: 1, boxes: TWO[1] }).push(2, spaceOf(TWO[1]!, 2));
    expect([await first.ack(), await again.ack()]).toMatchObject(Array(2).fill({ step: 2, state: 'COMMITTED' }));
  });

  test('the writers send the same steps', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const crew = await openCrew(client, generation, TWO);
    for (const [writer, upload] of crew.entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
    for (const upload of crew) await upload.ack();
    const [first, second] = crew as [Upload, Upload];
    first.push(3, spaceOf(TWO[0]!, 3));
    await eventually(async () => ((await ask(client, 'GetRun')).writer_states[0]?.step === 3 ? true : undefined));
    expect(
      await expectError(
        second.push(4, spaceOf(TWO[1]!, 4)).failure(),
        'INVALID_ARGUMENT',
        'STEP_MISMATCH',
        /^writer 1 began step 4 and left out step 3, which another writer sends: all writers send the same steps$/,
      ),
    ).toEqual({ step: '4', expectedStep: '3', writer: '1' });
    const third = new Upload(client).open(generation, { writer: 1, boxes: TWO[1] });
    await third.opened();
    expect(
      await expectError(
        third.push(2, spaceOf(TWO[1]!, 2)).failure(),
        'INVALID_ARGUMENT',
        'STEP_MISMATCH',
        /^writer 1 sends step 2, the others are at step 3: all writers send the same steps$/,
      ),
    ).toEqual({ step: '2', expectedStep: '3', writer: '1' });
  });

  test('that all skip is SKIPPED, and one that is not finite anywhere is REJECTED, to all', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const crew = await openCrew(client, generation, TWO);
    const [first, second] = crew as [Upload, Upload];
    for (const [writer, upload] of crew.entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
    first.commit(2, 0, { skipped: true });
    second.push(2, spaceOf(TWO[1]!, 2), { skipped: true });
    const poisoned: ValueOf = (tensor, index) => (tensor === 0 && index === 13 ? Number.NaN : index);
    for (const [writer, upload] of crew.entries()) upload.push(3, partOf(TENSORS, TWO[writer]!, poisoned));
    for (const upload of crew) {
      expect([await upload.ack(), await upload.ack(), await upload.ack()]).toMatchObject([
        { step: 1, state: 'COMMITTED' },
        { step: 2, state: 'SKIPPED', committed_step: 2 },
        { step: 3, state: 'REJECTED', committed_step: 2, detail: expect.stringMatching(/"w"/) },
      ]);
    }
    expect((await read(client)).bytes).toEqual(new NaiveEma(TENSORS).fold(valuesOf(1)).bytes);
    expect((await ask(client, 'GetRun')).non_finite_steps).toBe(1);
  });

  test('tensors that are sent once come behind the others of each writer, in the first step', async () => {
    const client = rawClient(await serve());
    const tensors: TestTensor[] = [
      { name: 'frozen', dtype: 'F32', shape: [4], policy: 'COPY_ONCE' },
      { name: 'w', dtype: 'F32', shape: [6] },
    ];
    const { generation } = await openRun(client, { ...SMALL, tensors, writers: 2 });
    const parts = shards(tensors, 2);
    const crew = parts.map((boxes, writer) => new Upload(client).open(generation, { writer, boxes }));
    for (const upload of crew) expect(await upload.opened()).toMatchObject({ step_bytes: 64, first_step_bytes: 128 });
    const space = (writer: number, step: number): Buffer => {
      const [frozen, w] = parts[writer]!;
      return partOf(tensors, [w!, frozen!], (tensor, index) => (tensor === 0 ? index : step + index));
    };
    for (const [writer, upload] of crew.entries()) upload.push(1, space(writer, 1));
    // After the first commit a step may have the frozen tensors or leave them out.
    crew[0]!.push(2, space(0, 3));
    crew[1]!.push(2, space(1, 3).subarray(0, 64));
    // A trainer that does not know what has arrived sends a step again. With and without frozen tensors it is the same.
    crew[0]!.push(2, space(0, 3).subarray(0, 64)).push(1, space(0, 1).subarray(0, 64));
    crew[1]!.push(2, space(1, 3)).push(1, space(1, 1));
    for (const upload of crew) {
      for (const state of ['COMMITTED', 'COMMITTED', 'ALREADY_COMMITTED', 'ALREADY_COMMITTED']) {
        expect(await upload.ack()).toMatchObject({ state });
      }
    }
    const { bytes } = await read(client);
    expect(Array.from({ length: 4 }, (_, at) => bytes.readFloatLE(at * 4))).toEqual([0, 1, 2, 3]);
    expect(Array.from({ length: 6 }, (_, at) => bytes.readFloatLE(64 + at * 4))).toEqual([2, 3, 4, 5, 6, 7]);
  });
});

test('when all writers have gone, the run holds what it held', async () => {
  const client = rawClient(await serve());
  const generation = await openWorld(client, 2);
  const held: object[] = [];
  for (const [step, isAhead] of [
    [1, true],
    [4, false],
    [5, true],
    [8, false],
  ] as const) {
    const crew = await openCrew(client, generation, TWO);
    for (const [writer, upload] of crew.entries()) upload.push(step, spaceOf(TWO[writer]!, step));
    for (const upload of crew) await upload.ack();
    if (isAhead) {
      crew[0]!.push(step + 1, spaceOf(TWO[0]!, step + 1)).chunk(step + 2, 0, Buffer.alloc(64));
      await eventually(async () => {
        const [state] = (await ask(client, 'GetRun')).writer_states;
        return state?.receiving_step === step + 2 ? true : undefined;
      });
    }
    for (const upload of crew) upload.break();
    held.push(usedBy(await pictureOf(client)));
  }
  expect(held).toEqual(Array(4).fill(held[0]));
});

/** The memory that a run holds without its free pages, which its next step uses. */
function usedBy(picture: object): object {
  const { memory } = picture as { memory: Record<string, number> };
  const { shadow_bytes, staging_bytes, pinned_bytes, snapshot_bytes } = memory;
  return { shadow_bytes, staging_bytes, pinned_bytes, snapshot_bytes };
}
