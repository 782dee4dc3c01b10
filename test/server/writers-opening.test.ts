import { describe, expect, test } from 'vitest';
import { NaiveEma, openCrew, partOf, shards, TENSORS, type TestBox } from './crew.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, eventually, rawClient, serve } from './harness.js';
import { read } from './read.js';
import { Upload } from './upload.js';
import { openWorld, spaceOf, TWO, valuesOf } from './world-of-two.js';

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('the opening of several writers', () => {
  test('is answered when all have declared', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 3);
    const parts = shards(TENSORS, 3, 1);
    const first = [2, 0].map((writer) => new Upload(client).open(generation, { writer, boxes: parts[writer] }));
    const states = await eventually(async () => {
      const { writer_states, writers_connected } = await ask(client, 'GetRun');
      return writers_connected === 2 ? writer_states : undefined;
    });
    expect(states.map(({ writer, connected }) => [writer, connected])).toEqual([
      [0, true],
      [1, false],
      [2, true],
    ]);
    await turns(20);
    expect(first.map(({ answerCount }) => answerCount)).toEqual([0, 0]);
    const last = new Upload(client).open(generation, { writer: 1, boxes: parts[1] });
    const opened = await Promise.all([first[1]!, last, first[0]!].map((upload) => upload.opened()));
    // The writers have 1, 1 and 2 columns of `w`, which is 6 × 4, and 1, 2 and 2 elements of `b`, which has 5.
    expect(opened.map(({ step_bytes, first_step_bytes }) => [step_bytes, first_step_bytes])).toEqual(
      Array(3).fill([128, 128]),
    );
    expect(opened[0]).toEqual({
      step_bytes: 128,
      first_step_bytes: 128,
      received_bytes: 0,
      whole: false,
      left_out: [],
    });
  });

  test.each<[string, TestBox[], 'BOX_GAP' | 'BOX_OVERLAP', RegExp, object]>([
    [
      'a gap',
      [{ tensor: 0, offset: [3, 0], extent: [3, 3] }, TWO[1]![1]!],
      'BOX_GAP',
      /^run "r": element \[3,3\] of tensor "w" of shape \[6,4\] is in no box of its 2 writers$/,
      { tensor: 'w', element: '3,3', boxCount: '0' },
    ],
    [
      'an overlap',
      [TWO[1]![0]!, { tensor: 1, offset: [1], extent: [4] }],
      'BOX_OVERLAP',
      /^run "r": element \[1\] of tensor "b" of shape \[5\] is in 2 boxes of its 2 writers$/,
      { tensor: 'b', element: '1', boxCount: '2' },
    ],
  ])('%s is told to every writer, and can be corrected', async (_, boxes, reason, text, metadata) => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const pictures: object[] = [];
    for (let attempt = 0; attempt < 3; attempt++) {
      const crew = [TWO[0]!, boxes].map((part, writer) => new Upload(client).open(generation, { writer, boxes: part }));
      for (const upload of crew) {
        expect(await expectError(upload.failure(), 'FAILED_PRECONDITION', reason, text)).toEqual(metadata);
      }
      pictures.push(await pictureOf(client));
    }
    expect(pictures).toEqual(Array(3).fill(pictures[0]));
    expect(pictures[0]).toMatchObject({ memory: { staging_bytes: 0, pinned_bytes: 0 } });
    const corrected = await openCrew(client, generation, TWO);
    for (const [writer, upload] of corrected.entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
    expect(await corrected[1]!.ack()).toMatchObject({ step: 1, state: 'COMMITTED' });
  });

  test('a writer that never comes is named to those that wait', async () => {
    const client = rawClient(await serve({ stepTimeoutMs: 1_000 }));
    const generation = await openWorld(client, 3);
    const before = await pictureOf(client);
    const upload = new Upload(client).open(generation, { writer: 1, boxes: TWO[0] });
    const metadata = await expectError(
      upload.failure(),
      'DEADLINE_EXCEEDED',
      'WRITERS_MISSING',
      /^run "r": 2 of 3 writers have not declared their boxes for 1000 ms: 0, 2$/,
    );
    expect(metadata).toEqual({ missing: '0, 2' });
    expect(await pictureOf(client)).toEqual(before);
  });

  test('who goes away before the last has come takes its boxes along', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const before = await pictureOf(client);
    const gone = new Upload(client).open(generation, { writer: 0, boxes: TWO[1] });
    await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 1 ? true : undefined));
    gone.break();
    expect(await pictureOf(client)).toEqual(before);
    await openCrew(client, generation, TWO);
  });

  test('another number of writers, another dtype of the wire, a number out of range', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2, { incarnation: 'a' });
    expect(
      await expectError(
        openWorld(client, 3, { incarnation: 'a' }),
        'FAILED_PRECONDITION',
        'WRITERS_MISMATCH',
        /^generation 1 of run "r" has 2 writers, 3 in the request: another number of writers needs a new incarnation$/,
      ),
    ).toEqual({ writers: '2', asked: '3' });
    expect(await openWorld(client, 0, { incarnation: 'a' }), 'as many as there are').toBe(generation);
    const first = new Upload(client).open(generation, { writer: 0, boxes: TWO[0] });
    await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 1 ? true : undefined));
    const other = new Upload(client).open(generation, { writer: 1, boxes: TWO[1], wire_dtype: 'BF16' });
    await expectError(
      other.failure(),
      'FAILED_PRECONDITION',
      'WRITERS_MISMATCH',
      /^writer 1 of run "r" sends BF16, the others the layout's dtypes$/,
    );
    await expectError(
      new Upload(client).open(generation, { writer: 2 }).failure(),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^open\.writer must be an integer from 0 to 1, got 2$/,
    );
    const second = new Upload(client).open(generation, { writer: 1, boxes: TWO[1] });
    await Promise.all([first.opened(), second.opened()]);
  });

  test('boxes stay what they are for a generation', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const [first, second] = (await openCrew(client, generation, TWO)) as [Upload, Upload];
    const columns = shards(TENSORS, 2, 1);
    await expectError(
      new Upload(client).open(generation, { writer: 1, boxes: columns[1], takeover: true }).failure(),
      'FAILED_PRECONDITION',
      'BOXES_CHANGED',
      /^writer 1 of run "r" declares other boxes than before in this generation: another sharding needs a new incarnation$/,
    );
    // The stream that was not taken over goes on.
    for (const [writer, upload] of [first, second].entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
    expect([await first.ack(), await second.ack()]).toMatchObject(Array(2).fill({ step: 1, state: 'COMMITTED' }));
  });

  test.each(['while it waits for the others', 'while it is open'])('a writer has one stream, %s', async (when) => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 2);
    const first = new Upload(client).open(generation, { writer: 0, boxes: TWO[0] });
    await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 1 ? true : undefined));
    const other =
      when === 'while it is open' ? new Upload(client).open(generation, { writer: 1, boxes: TWO[1] }) : undefined;
    if (other !== undefined) await Promise.all([first.opened(), other.opened()]);
    await expectError(
      new Upload(client).open(generation, { writer: 0, boxes: TWO[0] }).failure(),
      'FAILED_PRECONDITION',
      'WRITER_BUSY',
      /^writer 0 of run "r" already has a stream$/,
    );
    const taker = new Upload(client).open(generation, { writer: 0, boxes: TWO[0], takeover: true });
    const metadata = await expectError(
      first.failure(),
      'ABORTED',
      'STREAM_REPLACED',
      /^writer 0 of run "r" came back on another stream$/,
    );
    expect(metadata).toEqual({ writer: '0' });
    const second = other ?? new Upload(client).open(generation, { writer: 1, boxes: TWO[1] });
    if (other === undefined) await second.opened();
    expect(await taker.opened()).toMatchObject({ step_bytes: 128, whole: false });
    for (const [writer, upload] of [taker, second].entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
    expect([await taker.ack(), await second.ack()]).toMatchObject(Array(2).fill({ step: 1, state: 'COMMITTED' }));
  });

  test('of a box that all hold one sends it, the loads are even, and the others are told', async () => {
    const client = rawClient(await serve());
    const generation = await openWorld(client, 3);
    const rows = [0, 2, 4].map((row): TestBox => ({ tensor: 0, offset: [row, 0], extent: [2, 4], replica_group: 1 }));
    const all = [...rows, { tensor: 1, offset: [0], extent: [5], replica_group: 1 }];
    const crew = [0, 1, 2].map((writer) => new Upload(client).open(generation, { writer, boxes: all }));
    const opened = await Promise.all(crew.map((upload) => upload.opened()));
    expect(opened.map(({ step_bytes }) => Number(step_bytes)).sort((a, b) => a - b)).toEqual([64, 64, 128]);
    const sent = opened.map(({ left_out }) =>
      all.map((_, index) => index).filter((index) => !left_out.includes(index)),
    );
    expect(sent.flat().sort(), 'each box once').toEqual([0, 1, 2, 3]);
    for (const [writer, upload] of crew.entries()) {
      upload.push(
        1,
        partOf(
          TENSORS,
          sent[writer]!.map((index) => all[index]!),
          valuesOf(1),
        ),
      );
    }
    for (const upload of crew) expect(await upload.ack()).toMatchObject({ step: 1, state: 'COMMITTED' });
    expect((await read(client)).bytes).toEqual(new NaiveEma(TENSORS).fold(valuesOf(1)).bytes);
  });
});
