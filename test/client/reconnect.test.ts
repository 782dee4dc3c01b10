import { describe, expect, test } from 'vitest';
import { averageMean, type ReconnectOptions, type RunHandle, type StepData } from '../../src/client/index.js';
import { type Script, type SeenStream, startScripted } from './scripted-peer.js';
import { eventually, failureOf } from './support.js';

/** Elements of each of two tensors: a step has 8 MiB, which are several chunks. */
const COUNT = 1 << 20;
const STEP_BYTES = 8 * COUNT;
const ACKS: Script = { opened: {}, onCommit: (stream, step) => stream.ack(step) };
const BREAKS_AT_COMMIT: Script = { opened: {}, onCommit: (stream) => stream.break() };

async function open(
  scripts: readonly Script[],
  reconnect?: ReconnectOptions | false,
): Promise<{ run: RunHandle; streams: SeenStream[] }> {
  const { client, streams } = await startScripted(STEP_BYTES, scripts);
  const tensors = ['a', 'b'].map((name) => ({ name, dtype: 'F32' as const, shape: [COUNT] }));
  const run = await client.openRun({ run: 'r', tensors, averages: [averageMean('m')], reconnect });
  return { run, streams };
}

/** The weights of a step. They differ everywhere, so that a byte at a wrong place shows. */
function weights(step: number): Record<'a' | 'b', Float32Array> {
  return {
    a: Float32Array.from({ length: COUNT }, (_, index) => step + index),
    b: Float32Array.from({ length: COUNT }, (_, index) => step - index),
  };
}

function expectWhole(step: number, chunks: SeenStream['chunks']): void {
  let at = 0;
  for (const { offset, data } of chunks) {
    expect(offset).toBe(at);
    at += data.length;
  }
  const { a, b } = weights(step);
  const expected = Buffer.concat([Buffer.from(a.buffer), Buffer.from(b.buffer)]);
  expect(Buffer.concat(chunks.map(({ data }) => data)).equals(expected)).toBe(true);
}

/** A script that breaks each stream when `bytes` bytes of the step have come on it. */
function breaksAfter(bytes: number, opened: Script['opened'] = {}): Script {
  return { opened, onChunk: (stream) => void (stream.bytesOf(1) >= bytes && stream.break()) };
}

const received = (before: readonly SeenStream[]) => before.reduce((sum, stream) => sum + stream.bytesOf(1), 0);
const GOES_ON: Script = {
  opened: (before) => ({ step: 1, received_bytes: received(before) }),
  onCommit: (stream, step) => stream.ack(step),
};

const data: [string, () => StepData][] = [
  ['views', () => weights(1)],
  [
    'a reader',
    () =>
      ({ name }) => [new Uint8Array(weights(1)[name as 'a' | 'b'].buffer)],
  ],
];

describe('a connection that breaks inside a step', () => {
  test.each(data)('%s go on from the byte that the service has, twice', async (_, give) => {
    const breaks = [2.5 * (1 << 20), 3 << 20];
    const scripts = [breaksAfter(breaks[0]!), breaksAfter(breaks[1]!, GOES_ON.opened!), GOES_ON];
    const { run, streams } = await open(scripts);
    expect(await run.update(1, give())).toMatchObject({ step: 1, state: 'COMMITTED' });
    expect(streams.map(({ takeover }) => takeover)).toEqual([false, true, true]);
    expectWhole(
      1,
      streams.flatMap(({ chunks }) => chunks),
    );
    expect((await run.update(2, give())).state).toBe('COMMITTED');
    expect(streams).toHaveLength(3);
    await run.close();
  });

  test('begins it again where the service has nothing of it any more', async () => {
    const { run, streams } = await open([breaksAfter(1 << 20), ACKS]);
    expect((await run.update(1, weights(1))).state).toBe('COMMITTED');
    expectWhole(1, streams[1]!.chunks);
  });

  test('goes on at a cut that is none of its own', async () => {
    const cut = 3 * (1 << 20) + 48;
    const again: Script = { ...ACKS, opened: { step: 1, received_bytes: cut } };
    const { run, streams } = await open([breaksAfter(1 << 20), again]);
    await run.update(1, weights(1));
    const { a, b } = weights(1);
    const expected = Buffer.concat([Buffer.from(a.buffer), Buffer.from(b.buffer)]).subarray(cut);
    expect(streams[1]!.chunks[0]!.offset).toBe(cut);
    expect(Buffer.concat(streams[1]!.chunks.map((chunk) => chunk.data)).equals(expected)).toBe(true);
  });

  test.each([
    ['more bytes than the step has', STEP_BYTES + 16],
    ['half an element', 3],
  ])('fails when the service says that it has %s', async (_, bytes) => {
    const { run } = await open([breaksAfter(1 << 20), { opened: { step: 1, received_bytes: bytes } }]);
    expect(await failureOf(run.update(1, weights(1)))).toMatchObject({
      code: 'INTERNAL',
      message: `the server broke the protocol: it has ${bytes} bytes of step 1, which has ${STEP_BYTES}`,
    });
  });
});

describe('a service that ends a stream to make room', () => {
  const MADE_ROOM = ['TRANSPORT_EXHAUSTED', 'TOO_MANY_CONNECTIONS'] as const;

  test.each(MADE_ROOM)('in the middle of a step gets the rest of it on the next: %s', async (reason) => {
    const shed: Script = {
      opened: {},
      onChunk: (stream) => void (stream.bytesOf(1) >= 1 << 20 && stream.refuse(reason)),
    };
    const { run, streams } = await open([shed, GOES_ON]);
    expect((await run.update(1, weights(1))).state).toBe('COMMITTED');
    expect(streams.map(({ takeover }) => takeover)).toEqual([false, true]);
    expectWhole(
      1,
      streams.flatMap(({ chunks }) => chunks),
    );
  });

  test.each(MADE_ROOM)('at its opening is asked again: %s', async (reason) => {
    const { run, streams } = await open([{ onOpen: (stream) => stream.refuse(reason) }, ACKS]);
    expect((await run.update(1, weights(1))).state).toBe('COMMITTED');
    expect(streams).toHaveLength(2);
  });

  test('for want of the run’s own memory is the end', async () => {
    const { run, streams } = await open([{ opened: {}, onChunk: (stream) => stream.refuse('MEMORY_EXHAUSTED') }]);
    expect(await failureOf(run.update(1, weights(1)))).toMatchObject({ reason: 'MEMORY_EXHAUSTED' });
    expect(streams).toHaveLength(1);
  });
});

describe('a connection that breaks before the ack', () => {
  test('of a step that the service has whole: its ack comes on the new stream', async () => {
    const again: Script = {
      opened: { step: 1, received_bytes: STEP_BYTES, whole: true },
      onOpen: (stream) => stream.ack(1),
    };
    const { run, streams } = await open([BREAKS_AT_COMMIT, again]);
    const pending = run.update(1, weights(1));
    await pending.sent;
    expect((await pending).state).toBe('COMMITTED');
    expect(streams[1]).toMatchObject({ takeover: true, chunks: [], commits: [] });
  });

  test('of a step that is committed: it is acknowledged', async () => {
    const { run, streams } = await open([
      BREAKS_AT_COMMIT,
      { ...ACKS, opened: { committed_step: 1, durable_step: 0 } },
    ]);
    const pending = run.update(1, weights(1));
    await pending.sent;
    expect(await pending).toEqual({
      step: 1,
      state: 'ALREADY_COMMITTED',
      detail: undefined,
      committedStep: 1,
      durableStep: 0,
    });
    expect(run.committedStep).toBe(1);
    expect(streams[1]).toMatchObject({ chunks: [], commits: [] });
    expect((await run.update(2, weights(2))).state).toBe('COMMITTED');
  });

  test('of which only the commit was lost: it is sent again', async () => {
    const { run, streams } = await open([
      BREAKS_AT_COMMIT,
      { ...ACKS, opened: { step: 1, received_bytes: STEP_BYTES } },
    ]);
    const pending = run.update(1, weights(1));
    await pending.sent;
    expect((await pending).state).toBe('COMMITTED');
    expect(streams[1]).toMatchObject({ chunks: [], commits: [1] });
  });

  test('of several steps: one is committed, one held, one sent on', async () => {
    const first: Script = { opened: {}, onCommit: (stream, step) => void (step === 3 && stream.break()) };
    const again: Script = {
      opened: { committed_step: 1, step: 3, received_bytes: 1 << 20 },
      onOpen: (stream) => stream.ack(2),
      onCommit: (stream, step) => stream.ack(step),
    };
    const { run, streams } = await open([first, again]);
    const acks = await Promise.all([1, 2, 3].map((step) => run.update(step, weights(step))));
    expect(acks.map(({ step, state }) => [step, state])).toEqual([
      [1, 'ALREADY_COMMITTED'],
      [2, 'COMMITTED'],
      [3, 'COMMITTED'],
    ]);
    expect(streams[1]!.commits).toEqual([3]);
    expect(streams[1]!.bytesOf(3)).toBe(STEP_BYTES - (1 << 20));
    expect(streams[1]!.bytesOf(2)).toBe(0);
  });

  test('of a step whose tensors have not been given back: it is sent again', async () => {
    const { run, streams } = await open([BREAKS_AT_COMMIT, ACKS]);
    expect((await run.update(1, weights(1))).state).toBe('COMMITTED');
    expectWhole(1, streams[1]!.chunks);
  });

  test('of one whose tensors may have changed: it is lost, and named', async () => {
    const { run, streams } = await open([
      BREAKS_AT_COMMIT,
      { opened: { committed_step: 0, step: 1, received_bytes: 1 << 20 } },
    ]);
    const pending = run.update(1, weights(1));
    await pending.sent;
    const failure = await failureOf(pending);
    expect(failure).toMatchObject({
      name: 'ClientError',
      code: 'UNAVAILABLE',
      metadata: { step: '1' },
      message:
        `step 1 is lost: the connection broke when 1048576 of its ${STEP_BYTES} bytes had arrived, ` +
        'and its tensors may have changed since they were sent',
    });
    expect(await failureOf(run.update(2, weights(2)))).toBe(failure);
    expect(await failureOf(run.flush())).toBe(failure);
    expect(streams).toHaveLength(2);
  });

  test('of a skipped step: it is said again', async () => {
    const { run, streams } = await open([BREAKS_AT_COMMIT, ACKS]);
    const pending = run.skip(1);
    await pending.sent;
    expect((await pending).state).toBe('COMMITTED');
    expect(streams.map(({ commits }) => commits)).toEqual([[1], [1]]);
  });
});

describe('coming back', () => {
  test('waits until somebody needs it', async () => {
    const first: Script = {
      opened: {},
      onCommit(stream, step) {
        stream.ack(step);
        stream.break();
      },
    };
    const { run, streams } = await open([first, { ...ACKS, opened: { committed_step: 1 } }]);
    await run.update(1, weights(1));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(streams).toHaveLength(1);
    await run.flush();
    expect((await run.update(2, weights(2))).state).toBe('COMMITTED');
    expect(streams).toHaveLength(2);
    await run.close();
  });

  test('also while the run is being opened', async () => {
    const { streams } = await open([{ onOpen: (stream) => stream.break() }, ACKS]);
    expect(streams.map(({ takeover }) => takeover)).toEqual([false, true]);
  });

  test('has a deadline, then the last failure is raised', async () => {
    const breaks: Script = { onOpen: (stream) => stream.break(14, 'not yet') };
    const { run, streams } = await open([BREAKS_AT_COMMIT, breaks], { deadlineMs: 300 });
    const pending = [1, 2].map((step) => run.update(step, weights(step)));
    for (const step of pending) {
      expect(await failureOf(step)).toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/^lost the service at 127\.0\.0\.1:\d+: not yet$/),
        permanent: false,
      });
    }
    // The number of attempts depends on the machine.
    expect(streams.length).toBeGreaterThan(1);
    expect(await failureOf(run.close())).toMatchObject({ message: expect.stringMatching(/: not yet$/) });
  });

  test('does not wait for ever for an answer', async () => {
    const { run } = await open([BREAKS_AT_COMMIT, {}], { deadlineMs: 50 });
    expect((await failureOf(run.update(1, weights(1)))).message).toMatch(
      /^the service did not open the stream within 1000 ms$/,
    );
  });

  test('ends when the service refuses', async () => {
    const { run, streams } = await open([
      BREAKS_AT_COMMIT,
      { onOpen: (stream) => stream.break(9, 'another generation') },
    ]);
    expect(await failureOf(run.update(1, weights(1)))).toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: 'another generation',
    });
    expect(streams).toHaveLength(2);
  });

  test.each([
    ['ABORTED', 10],
    ['INVALID_ARGUMENT', 3],
    ['DATA_LOSS', 15],
    ['DEADLINE_EXCEEDED', 4],
  ])('is not tried after %s', async (code, number) => {
    const { run, streams } = await open([{ opened: {}, onCommit: (stream) => stream.break(number, 'no') }, ACKS]);
    expect(await failureOf(run.update(1, weights(1)))).toMatchObject({ code, message: 'no' });
    expect(streams).toHaveLength(1);
  });

  test('is not tried where the caller does not want it', async () => {
    const { run, streams } = await open([BREAKS_AT_COMMIT, ACKS], false);
    expect(await failureOf(run.update(1, weights(1)))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(streams).toHaveLength(1);
  });

  test('is ended by abort', async () => {
    const { run, streams } = await open([BREAKS_AT_COMMIT, {}]);
    const pending = run.update(1, weights(1));
    await eventually(() => streams.length).toBe(2);
    run.abort();
    expect(await failureOf(pending)).toMatchObject({
      code: 'CANCELLED',
      message: 'the stream was aborted by its client',
    });
  });

  test.each([
    [{ committed_step: 1 }, 'it is at step 1, it was at step 2'],
    [{}, 'it is at step none, it was at step 2'],
  ])('to a service that has forgotten steps fails: %j', async (opened, message) => {
    const first: Script = {
      opened: {},
      onCommit: (stream, step) => (step < 3 ? stream.ack(step) : stream.break()),
    };
    const { run } = await open([first, { ...ACKS, opened }]);
    await run.update(2, weights(2));
    const failure = await failureOf(run.update(3, weights(3)));
    expect(failure).toMatchObject({ code: 'UNAVAILABLE' });
    expect(failure.message).toBe(`the service was started again and has lost acknowledged steps: ${message}`);
  });

  test('with a step of another length fails', async () => {
    const { run } = await open([BREAKS_AT_COMMIT, { opened: { step_bytes: 64, first_step_bytes: 64 } }]);
    expect((await failureOf(run.update(1, weights(1)))).message).toContain(
      `a step of 64 bytes where it had ${STEP_BYTES}`,
    );
  });
});
