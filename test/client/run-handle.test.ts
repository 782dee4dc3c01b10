import type { ServerDuplexStream } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { averageEma, averageMean, ClientError, type TensorReader } from '../../src/client/index.js';
import { asF32, connectTo, eventually, f32, failureOf, startPeer, startService } from './support.js';

const LAYOUT = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [2] }],
  averages: [averageMean('mean')],
} as const;

/** Elements of a tensor of 32 MiB, which is more than all windows and queues between the two ends hold. */
const LARGE_COUNT = 8 << 20;
const LARGE = {
  run: 'large',
  tensors: [{ name: 'w', dtype: 'F32', shape: [LARGE_COUNT] }],
  averages: [averageMean('mean')],
} as const;

describe('steps', () => {
  test('a step that the run has is acknowledged and not folded', async () => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    expect(await run.update(3, { w: f32(1, 1) })).toEqual({
      step: 3,
      state: 'COMMITTED',
      committedStep: 3,
      durableStep: undefined,
    });
    await run.close();
    const again = await client.openRun(LAYOUT);
    expect(again.committedStep).toBe(3);
    expect((await again.update(3, { w: f32(1, 1) })).state).toBe('ALREADY_COMMITTED');
    expect((await again.update(4, { w: f32(3, 3) })).state).toBe('COMMITTED');
    await again.close();
    expect(asF32((await client.getShadow({ run: 'r' })).tensors.get('w')?.data)).toEqual([2, 2]);
  });

  test('a step that the run has with other content is refused', async () => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    await run.update(3, { w: f32(1, 1) });
    expect(await failureOf(run.update(3, { w: f32(9, 9) }))).toMatchObject({
      reason: 'STEP_CONFLICT',
      code: 'ALREADY_EXISTS',
      message:
        'step 3 was committed with other content: rewind to a retained version (resume_step), or go on with steps after 3',
    });
  });

  test('tensors may be changed once the step is sent', async () => {
    const { client } = await startService();
    const run = await client.openRun(LARGE);
    const w = new Float32Array(LARGE_COUNT).fill(1);
    const pending = run.update(1, { w });
    await pending.sent;
    w.fill(1000);
    await pending;
    w.fill(3);
    await run.update(2, { w });
    await run.close();
    const values = new Float32Array((await client.getShadow({ run: 'large' })).tensors.get('w')!.data.buffer);
    expect(values.every((value) => value === 2)).toBe(true);
  });

  test('steps that are not awaited go out in order', async () => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    const acks = await Promise.all([1, 2, 3, 4].map((step) => run.update(step, new Map([['w', f32(step, -step)]]))));
    expect(acks.map(({ step, state }) => [step, state])).toEqual([1, 2, 3, 4].map((step) => [step, 'COMMITTED']));
    await run.close();
    expect(asF32((await client.getShadow({ run: 'r' })).tensors.get('w')?.data)).toEqual([2.5, -2.5]);
  });

  test('a reader streams a step that is never whole in memory', async () => {
    const { client } = await startService();
    const run = await client.openRun(LARGE);
    const asked: string[] = [];
    const read: TensorReader = function* ({ name, shape }) {
      asked.push(`${name} ${shape}`);
      // 11 divides no chunk, so pieces and chunks have no common boundaries but the ends.
      const piece = new Float32Array(LARGE_COUNT / 8).fill(5);
      for (let at = 0; at < LARGE_COUNT; at += piece.length) {
        const bytes = new Uint8Array(piece.buffer);
        yield bytes.subarray(0, 11);
        yield bytes.subarray(11);
      }
    };
    await run.update(1, read);
    await run.close();
    expect(asked).toEqual([`w ${LARGE_COUNT}`]);
    const values = new Float32Array((await client.getShadow({ run: 'large' })).tensors.get('w')!.data.buffer);
    expect(values.every((value) => value === 5)).toBe(true);
  });

  test.each([
    ['a missing tensor', {}, 'tensor "w" is missing'],
    ['a short one', { w: f32(1) }, 'tensor "w" has 4 bytes, F32 of shape [2] needs 8'],
    ['one too many', { w: f32(1, 2), v: f32(1) }, 'tensor "v" is not sent'],
  ])('%s is refused at once, and the stream goes on', async (_, tensors, message) => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    expect(() => run.update(1, tensors as Record<string, Float32Array>)).toThrow(message);
    expect((await run.update(1, { w: f32(1, 2) })).state).toBe('COMMITTED');
    await run.close();
  });

  test.each([
    ['short', 1, 'needs 33554432'],
    ['long', 9, 'needs 33554432'],
  ])('a reader that is too %s fails its step and leaves no trace', async (_, eighths, message) => {
    const { client } = await startService({ reconnectGraceMs: 0 });
    const run = await client.openRun(LARGE);
    const pending = run.update(1, function* () {
      for (let at = 0; at < eighths; at += 1) yield new Uint8Array(LARGE_COUNT / 2);
    });
    expect((await failureOf(pending)).message).toContain(message);
    expect((await failureOf(pending.sent)).message).toContain(message);
    expect((await failureOf(run.flush())).message).toContain(message);
    await eventually(async () => (await client.getRun('large')).writersConnected).toBe(0);
    expect(await client.getRun('large')).toMatchObject({ committedStep: undefined, stagingStep: undefined });
    const again = await client.openRun(LARGE);
    expect((await again.update(1, { w: new Float32Array(LARGE_COUNT) })).state).toBe('COMMITTED');
    await again.close();
  });
});

describe('failures', () => {
  test('the server’s reason reaches every pending step, flush, and the next call', async () => {
    const { client } = await startService();
    const run = await client.openRun({ ...LAYOUT, averages: [averageEma('ema', { decay: 0.9, start: 'INITIAL' })] });
    const pending = [1, 2, 3].map((step) => run.update(step, { w: f32(1, 2) }));
    const wanted = { name: 'ShadowkeepError', reason: 'INITIAL_REQUIRED', code: 'FAILED_PRECONDITION' };
    for (const step of pending) expect(await failureOf(step)).toMatchObject(wanted);
    expect(await failureOf(run.flush())).toMatchObject(wanted);
    expect(await failureOf(run.update(4, { w: f32(1, 2) }))).toMatchObject(wanted);
    expect(await failureOf(run.close())).toMatchObject(wanted);
  });

  test('a step that falls is acknowledged and changes nothing', async () => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    await run.update(5, { w: f32(1, 2) });
    const read: TensorReader = () => [new Uint8Array(4), new Uint8Array(4)];
    expect((await run.update(4, read)).state).toBe('ALREADY_COMMITTED');
    await run.close();
    expect((await client.getRun('r')).committedStep).toBe(5);
  });

  test('a run that is deleted while it is pushed fails the push', async () => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    await run.update(1, { w: f32(1, 2) });
    await client.deleteRun('r');
    const pushing = async () => {
      for (let step = 2; ; step += 1) await run.update(step, { w: f32(1, 2) });
    };
    expect(await failureOf(pushing())).toMatchObject({ reason: 'RUN_DELETED', code: 'ABORTED' });
  });

  test('a second writer is refused, a new incarnation fences the first', async () => {
    const { client } = await startService();
    const first = await client.openRun({ ...LAYOUT, incarnation: 'a' });
    await first.update(1, { w: f32(1, 2) });
    expect(await failureOf(client.openRun(LAYOUT))).toMatchObject({ reason: 'WRITER_BUSY', permanent: false });
    const second = await client.openRun({ ...LAYOUT, incarnation: 'b' });
    expect(second.generation).toBeGreaterThan(first.generation);
    expect(await failureOf(first.update(2, { w: f32(1, 2) }))).toMatchObject({ reason: 'GENERATION_FENCED' });
    expect((await second.update(2, { w: f32(1, 2) })).state).toBe('COMMITTED');
    await second.close();
  });

  test('an aborted stream leaves no trace of its step', async () => {
    const { client } = await startService({ reconnectGraceMs: 0 });
    const run = await client.openRun(LARGE);
    let pieces = 0;
    const pending = run.update(1, async function* () {
      for (; pieces < 4; pieces += 1) yield new Uint8Array(1 << 20);
      run.abort();
      yield new Uint8Array(1 << 20);
    });
    expect(await failureOf(pending)).toMatchObject({ code: 'CANCELLED' });
    await eventually(async () => (await client.getRun('large')).writersConnected).toBe(0);
    expect(await client.getRun('large')).toMatchObject({
      commits: 0,
      committedStep: undefined,
      stagingStep: undefined,
    });
  });

  test('a closed handle says so, and closing twice is closing once', async () => {
    const { client } = await startService();
    const run = await client.openRun(LAYOUT);
    const [first, second] = [run.close(), run.close()];
    expect(first).toBe(second);
    await first;
    expect(() => run.update(1, { w: f32(1, 2) })).toThrow(ClientError);
  });

  test('a server that goes away fails what waits', async () => {
    const { server, client } = await startService();
    const run = await client.openRun({ ...LAYOUT, reconnect: { deadlineMs: 300 } });
    await run.update(1, { w: f32(1, 2) });
    await server.stop();
    const failure = await failureOf(run.update(2, { w: f32(1, 2) }));
    expect(failure.code).toBe('UNAVAILABLE');
    expect(failure.permanent).toBe(false);
  });
});

type UpdateCall = ServerDuplexStream<{ message: string; commit?: { step: number } }, object>;

/** Opens a run whose stream has another end that does what the test says. */
async function openPeer(onMessage: (call: UpdateCall, message: string, step: number | undefined) => void) {
  const { client } = await startPeer({
    OpenRun: (_call: unknown, callback: (error: null, response: object) => void) =>
      callback(null, { run: 'r', generation: 1, step_bytes: 64, first_step_bytes: 64 }),
    Update: (call: UpdateCall) =>
      call.on('data', ({ message, commit }) => {
        if (message === 'open') call.write({ opened: { step_bytes: 64, first_step_bytes: 64 } });
        else onMessage(call, message, commit?.step);
      }),
  });
  return await client.openRun({ ...LAYOUT, reconnect: false });
}

describe('a server that breaks the protocol', () => {
  test.each([
    ['acknowledges another step', { ack: { step: 7, state: 'COMMITTED' } }, 'an ack of step 7 where one of 1 was due'],
    ['acknowledges without a state', { ack: { step: 1 } }, 'without a state'],
    ['answers with nothing', {}, 'an empty message'],
  ])('%s', async (_, answer, message) => {
    const run = await openPeer((call, kind) => kind === 'commit' && call.write(answer));
    const failure = await failureOf(run.update(1, { w: f32(1, 2) }));
    expect(failure).toMatchObject({ name: 'ClientError', code: 'INTERNAL' });
    expect(failure.message).toContain(message);
  });

  test('ends the stream while a step waits', async () => {
    const run = await openPeer((call, kind) => kind === 'commit' && call.end());
    expect(await failureOf(run.update(1, { w: f32(1, 2) }))).toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('has another idea of the step’s length', async () => {
    const { client } = await startPeer({
      OpenRun: (_call: unknown, callback: (error: null, response: object) => void) => callback(null, { run: 'r' }),
      Update: (call: UpdateCall) =>
        call.on('data', () => call.write({ opened: { step_bytes: 128, first_step_bytes: 128 } })),
    });
    expect((await failureOf(client.openRun(LAYOUT))).message).toContain('a step of 128 bytes');
  });

  test('takes nothing: the client keeps what it cannot send where it is', async () => {
    let pieces = 0;
    const { client } = await startPeer({
      OpenRun: (_call: unknown, callback: (error: null, response: object) => void) =>
        callback(null, { run: 'large', generation: 1 }),
      Update: (call: UpdateCall) =>
        call.once('data', () => {
          call.write({ opened: { step_bytes: 128 << 20, first_step_bytes: 128 << 20 } });
          call.pause();
        }),
    });
    const run = await client.openRun({ ...LARGE, tensors: [{ name: 'w', dtype: 'U8', shape: [128 << 20] }] });
    const pending = run.update(1, function* () {
      for (; pieces < 128; pieces += 1) yield new Uint8Array(1 << 20);
    });
    const quiet = async () => {
      const before = pieces;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return pieces > 0 && pieces === before;
    };
    await eventually(quiet).toBe(true);
    // The stream's queue holds 16 messages, its peer's queue holds 16, and a few are on the way.
    expect(pieces).toBeLessThanOrEqual(40);
    run.abort();
    expect(await failureOf(pending)).toMatchObject({ code: 'CANCELLED' });
    expect(await failureOf(pending.sent)).toMatchObject({ code: 'CANCELLED' });
  });
});

test('a client without a server', async () => {
  const { server, target } = await startService();
  await server.stop();
  const failure = await failureOf(connectTo(target, { serviceWaitMs: 0 }).openRun(LAYOUT));
  expect(failure).toMatchObject({ name: 'ClientError', code: 'UNAVAILABLE', reason: undefined, permanent: false });
});
