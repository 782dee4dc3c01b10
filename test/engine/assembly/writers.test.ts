import { describe, expect, test } from 'vitest';
import { BoxList, type WriterStream } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import { attach, closeStream, drive, f32At, makeRun, mean, readAll, refusal, tensor } from '../fixtures.js';
import { box } from '../world/naive.js';
import { rowShards } from './team.js';

const SHAPE = [4, 16] as const;
const step = (value: number): Buffer => Buffer.from(new Float32Array(64).fill(value).buffer);

/** Opens streams one by one, as their ranks come. */
function makeOpener(writers: number, budgetBytes?: number) {
  const { run, ledger } = makeRun([tensor('w', [...SHAPE])], [mean('a')], {}, budgetBytes);
  const generation = attach(run, 'life', { writers });
  const failures: [number, string][] = [];
  const open = (writer: number, boxes: readonly Box[], takeover = false, session = ''): WriterStream => {
    const request = { generation, writer, boxes: BoxList.of(boxes), wireDType: undefined, takeover, session };
    return run.openWriter(request, ({ reason }) => failures.push([writer, reason]));
  };
  return { run, ledger, open, failures };
}

describe('the opening of the writers of a generation', () => {
  test('is done when the last has declared', async () => {
    const { run, open } = makeOpener(3);
    const [first, second, third] = rowShards([4, 16], 4).concat();
    const streams = [open(2, first!), open(0, second!)];
    expect(streams.map(({ isReady }) => isReady)).toEqual([false, false]);
    expect(run.memory.stagingBytes).toBe(0);
    expect(run.missingError(500)).toSatisfy(
      refusal('WRITERS_MISSING', /^run "r": 1 of 3 writers have not declared their boxes for 500 ms: 1$/),
    );
    expect(run.writerStates.map(({ isConnected }) => isConnected)).toEqual([true, false, true]);
    streams.push(open(1, [...third!, box([3, 0], [1, 16])]));
    await Promise.all(streams.map(({ ready }) => ready));
    expect(streams.map(({ stepBytes }) => stepBytes)).toEqual([64, 64, 128]);
    expect(run.memory.stagingBytes).toBeGreaterThan(0);
  });

  test('takes over the stream of its own process, and of no other', () => {
    const { open, failures } = makeOpener(1);
    const whole = [box([0, 0], [4, 16])];
    const first = open(0, whole, false, 'first');
    const BUSY = expect.toSatisfy(refusal('WRITER_BUSY', /^writer 0 of run "r" already has a stream$/));
    for (const takeover of [false, true]) expect(() => open(0, whole, takeover, 'second')).toThrow(BUSY);
    expect(failures).toEqual([]);
    const again = open(0, whole, true, 'first');
    expect(failures).toEqual([[0, 'STREAM_REPLACED']]);
    first.leave();
    closeStream(again);
    // Nobody is there: whoever comes is the writer, and who was it before is not any more, whatever the newer one does.
    const second = open(0, whole, true, 'second');
    const LATE = expect.toSatisfy(
      refusal('STREAM_REPLACED', /^writer 0 of run "r" was opened by another process since/),
    );
    expect(() => open(0, whole, true, 'first')).toThrow(LATE);
    closeStream(second);
    expect(() => open(0, whole, true, 'first')).toThrow(LATE);
    expect(open(0, whole, true, 'second').isReady).toBe(true);
    expect(failures).toHaveLength(1);
  });

  test('a process that begins anew, with the same session or another, is no late one', () => {
    const { open } = makeOpener(1);
    const whole = [box([0, 0], [4, 16])];
    for (let restart = 0; restart < 40; restart++) closeStream(open(0, whole, false, `${restart}`));
    expect(() => open(0, whole, true, '30')).toThrow(expect.toSatisfy(refusal('STREAM_REPLACED', /another process/)));
    closeStream(open(0, whole, false, '30'));
    expect(open(0, whole, true, '30').isReady).toBe(true);
  });

  test('names the first of many that are missing', () => {
    const { run, open } = makeOpener(100);
    open(1, []);
    const { message } = run.missingError(500);
    expect(message).toMatch(/: 99 of 100 writers .*: 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 …$/);
  });

  test('fails for all of them when their boxes are no whole, and may be tried again', async () => {
    const { run, ledger, open, failures } = makeOpener(2);
    const used = ledger.usedBytes;
    const [top, bottom] = rowShards(SHAPE, 2);
    const waiting = open(0, top!);
    expect(() => open(1, top!)).toThrow(expect.toSatisfy(refusal('BOX_OVERLAP', /element \[0,0\]/)));
    await expect(waiting.ready).rejects.toSatisfy(refusal('BOX_OVERLAP', /element \[0,0\]/));
    expect(failures).toEqual([[0, 'BOX_OVERLAP']]);
    closeStream(waiting);
    expect({ used: ledger.usedBytes - used, staging: run.memory.stagingBytes }).toEqual({ used: 0, staging: 0 });
    const again = [open(0, top!), open(1, bottom!)];
    expect(again.every(({ isReady }) => isReady)).toBe(true);
  });

  test('without the memory of a step refuses the last, and the others wait', () => {
    // A shadow and a step fit, and the boxes.
    const { run, ledger, open, failures } = makeOpener(2, 2 * 8_192 + 256);
    const [top, bottom] = rowShards(SHAPE, 2);
    const first = open(0, top!);
    ledger.reserve(4_096, 'another run');
    const used = ledger.usedBytes;
    expect(() => open(1, bottom!)).toThrow(
      expect.toSatisfy(refusal('MEMORY_EXHAUSTED', /^one step in flight of run "r" needs 8192 bytes/)),
    );
    expect({ isReady: first.isReady, used: ledger.usedBytes, failures }).toEqual({
      isReady: false,
      used,
      failures: [],
    });
    expect(run.missingError(1).message).toMatch(/: 1$/);
    ledger.release(4_096);
    open(1, bottom!);
    expect(first.isReady).toBe(true);
  });

  test('of a number that the generation does not have is refused', () => {
    const { open } = makeOpener(2);
    expect(() => open(2, [])).toThrow(
      expect.toSatisfy(refusal('INVALID_FIELD', /^open\.writer must be an integer from 0 to 1, got 2$/)),
    );
  });

  test('a writer that goes before all have come has not declared', () => {
    const { open } = makeOpener(2);
    const [top, bottom] = rowShards(SHAPE, 2);
    open(0, top!).leave();
    open(1, top!);
    expect(open(0, bottom!).isReady).toBe(true);
  });

  test('a stream takes the place of one of its writer that waits', async () => {
    const { open, failures } = makeOpener(2);
    const [top, bottom] = rowShards(SHAPE, 2);
    const old = open(0, top!);
    expect(() => open(0, bottom!, true)).toThrow(expect.toSatisfy(refusal('BOXES_CHANGED', /^writer 0/)));
    const taken = open(0, top!, true);
    expect(failures).toEqual([[0, 'STREAM_REPLACED']]);
    closeStream(old);
    open(1, bottom!);
    await taken.ready;
    expect(taken.isReady).toBe(true);
  });
});

test('a writer with nothing to send only commits', async () => {
  const { run, open } = makeOpener(3);
  const streams = [open(0, []), open(1, [box([], [])]), open(2, [box([2, 3], [0, 5])])];
  expect(streams.map(({ stepBytes }) => stepBytes)).toEqual([0, 256, 0]);
  streams[1]!.stage(1, 0, step(2));
  const outcomes = streams.map((stream) => {
    const commit = { step: 1, bytes: stream.stepBytes, isInitial: false, isSkipped: false };
    return stream.commit(commit, drive);
  });
  expect((await Promise.all(outcomes)).map(({ state }) => state)).toEqual(Array(3).fill('COMMITTED'));
  expect(f32At(readAll(run), 1)).toEqual([2]);
});
