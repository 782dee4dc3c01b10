import { expect, test } from 'vitest';
import { BoxList, type WriterStream } from '../../../src/engine/index.js';
import { attach, closeStream, makeRun, mean, refusal, tensor } from '../fixtures.js';
import { box } from '../world/naive.js';

/** More tensors than one slice of the proof takes. */
const COUNT = 10_000;
const TENSORS = Array.from({ length: COUNT }, (_, index) => tensor(`t${index}`, [2]));

/** Two writers of a run, each with a half of every tensor: the first has opened its stream, the last one is at it. */
function setUp(lastHalf = 1) {
  const { run, ledger } = makeRun(TENSORS, [mean('a')], {}, 1 << 28);
  const generation = attach(run, 'life', { writers: 2 });
  const usedBytes = ledger.usedBytes;
  const failures: [number, string][] = [];
  const opening = (writer: number, half: number, takeover = false): Generator<void, WriterStream> => {
    const boxes = BoxList.of(TENSORS.map((_, index) => box([half], [1], { tensor: index })));
    const request = { generation, writer, boxes, wireDType: undefined, takeover, session: `${writer}` };
    return run.openingWriter(request, ({ reason }) => failures.push([writer, reason]));
  };
  const first = opening(0, 0).next().value as WriterStream;
  const work = opening(1, lastHalf);
  expect(work.next().done).toBe(false);
  return { run, ledger, usedBytes, failures, opening, first, work };
}

function finish(work: Generator<void, WriterStream>): WriterStream {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

test('all are ready when their boxes are proved, and not before', () => {
  const { first, work } = setUp();
  expect(first.isReady).toBe(false);
  const last = finish(work);
  expect([first, last].map(({ isReady, stepBytes }) => [isReady, stepBytes])).toEqual(
    Array(2).fill([true, 64 * COUNT]),
  );
});

test('a writer that leaves meanwhile takes its boxes along; when it comes back, all are ready', () => {
  const { run, failures, opening, first, work } = setUp();
  closeStream(first);
  const last = finish(work);
  expect(last.isReady).toBe(false);
  expect(run.missingError(1)).toSatisfy(refusal('WRITERS_MISSING', /1 of 2 writers .*: 0$/));
  const again = finish(opening(0, 0));
  expect([again.isReady, last.isReady, failures]).toEqual([true, true, []]);
});

test('a newer trainer that comes meanwhile ends all, and nothing is left', () => {
  const { run, ledger, usedBytes, failures, work } = setUp();
  attach(run, 'newer', { writers: 2 });
  const last = finish(work);
  expect(last.isReady).toBe(false);
  expect(() => last.checkOpen()).toThrow(expect.toSatisfy(refusal('GENERATION_FENCED', /./)));
  expect(failures).toEqual([0, 1].map((writer) => [writer, 'GENERATION_FENCED']));
  expect(ledger.usedBytes).toBe(usedBytes);
});

test('a stream that is replaced meanwhile: the one in its place is ready with the others', () => {
  const { failures, opening, first, work } = setUp();
  const again = finish(opening(1, 1, true));
  expect(failures).toEqual([[1, 'STREAM_REPLACED']]);
  expect(again.isReady).toBe(false);
  finish(work);
  expect([first.isReady, again.isReady]).toEqual([true, true]);
});

test('boxes that are no whole: all are told, the last one by its call', async () => {
  const { run, ledger, usedBytes, failures, opening, first, work } = setUp(0);
  expect(() => finish(work)).toThrow(expect.toSatisfy(refusal('BOX_OVERLAP', /element \[0\] of tensor "t0"/)));
  await expect(first.ready).rejects.toSatisfy(refusal('BOX_OVERLAP', /./));
  expect(failures).toEqual([[0, 'BOX_OVERLAP']]);
  expect(ledger.usedBytes).toBe(usedBytes);
  finish(opening(0, 0));
  expect(finish(opening(1, 1)).isReady).toBe(true);
  expect(run.writerStates.every(({ isConnected }) => isConnected)).toBe(true);
});
