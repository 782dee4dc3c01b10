import { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type ResponseStream, writeMessage } from '../../../src/server/calls/write-message.js';

/** Makes a stream that holds two messages, and takes one when the test says so. */
function makeStream(): { stream: Writable & ResponseStream<number>; taken: number[]; takeOne: () => void } {
  const taken: number[] = [];
  let done: (() => void) | undefined;
  const stream = new Writable({
    objectMode: true,
    highWaterMark: 2,
    write(message, _encoding, callback) {
      taken.push(message);
      done = callback;
    },
  });
  const takeOne = (): void => {
    const callback = done;
    done = undefined;
    callback?.();
  };
  return { stream: stream as Writable & ResponseStream<number>, taken, takeOne };
}

/** The state of the promise after a few turns of the event loop. */
async function stateOf(promise: Promise<void>): Promise<'done' | 'waiting'> {
  for (let turn = 0; turn < 5; turn++) await setImmediate();
  return await Promise.race([promise.then(() => 'done' as const), setImmediate('waiting' as const)]);
}

describe('a message', () => {
  test('goes at once while there is room, and waits until the stream has drained when there is none', async () => {
    const { stream, takeOne } = makeStream();
    await writeMessage(stream, 1);
    const second = writeMessage(stream, 2);
    expect(await stateOf(second)).toBe('waiting');
    takeOne();
    expect(await stateOf(second)).toBe('waiting');
    takeOne();
    expect(await stateOf(second)).toBe('done');
  });

  test('to a peer that is gone is dropped, also one that goes while it waits', async () => {
    const { stream, taken } = makeStream();
    await writeMessage(stream, 1);
    const waiting = writeMessage(stream, 2);
    stream.destroy();
    await waiting;
    await writeMessage(stream, 3);
    expect(taken).toEqual([1]);
  });

  test('leaves no listener behind', async () => {
    const { stream, takeOne } = makeStream();
    const before = stream.eventNames().map((name) => [name, stream.listenerCount(name)]);
    await writeMessage(stream, 1);
    for (let round = 0; round < 20; round++) {
      const waiting = writeMessage(stream, round);
      for (let turn = 0; turn < 4; turn++) {
        takeOne();
        await setImmediate();
      }
      await waiting;
      await writeMessage(stream, round);
    }
    const after = stream.eventNames().map((name) => [name, stream.listenerCount(name)]);
    expect(after).toEqual(before);
  });
});
