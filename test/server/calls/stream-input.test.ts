import { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { StreamInput } from '../../../src/server/calls/stream-input.js';

/**
 * Makes the reading side of a call: a stream of Node's own, as that of grpc-js is, which gives one message at a time.
 */
function makeCall(highWaterMark = 2): { call: Duplex; input: StreamInput<number>; taken: () => number } {
  let next = 0;
  const call = new Duplex({
    objectMode: true,
    highWaterMark,
    read() {
      next += 1;
      this.push(next > 100 ? null : next);
    },
    write: (_message, _encoding, done) => done(),
  });
  return { call, input: new StreamInput(call as unknown as ServerDuplexStream<number, never>), taken: () => next };
}

describe('the messages of a call', () => {
  test('come in order, to the end', async () => {
    const { input } = makeCall();
    const seen: number[] = [];
    for await (const message of input) seen.push(message);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
  });

  test('are not taken ahead of the one who works on them', async () => {
    const { input, taken } = makeCall();
    let count = 0;
    for await (const message of input) {
      for (let turn = 0; turn < 3; turn++) await setImmediate();
      // Taken are the message in work, and as many as the stream itself holds.
      expect(taken()).toBeLessThanOrEqual(message + 3);
      if (++count === 20) break;
    }
  });

  test('a failure comes before the next message, and to one who waits', async () => {
    const { call, input } = makeCall();
    const seen: number[] = [];
    const reading = (async () => {
      for await (const message of input) {
        seen.push(message);
        if (message === 3) input.fail(new Error('fenced'));
      }
    })();
    await expect(reading).rejects.toThrow('fenced');
    expect(seen).toEqual([1, 2, 3]);
    expect(call.destroyed).toBe(false);

    const idle = new Duplex({ objectMode: true, read: () => undefined, write: (_m, _e, done) => done() });
    const waiting = new StreamInput(idle as unknown as ServerDuplexStream<number, never>);
    const first = waiting[Symbol.asyncIterator]().next();
    await setImmediate();
    waiting.fail(new Error('first'));
    waiting.fail(new Error('second'));
    await expect(first).rejects.toThrow('first');
  });

  test.each(['end', 'close', 'cancelled'])('%s ends the loop of one who waits', async (event) => {
    const idle = new Duplex({ objectMode: true, read: () => undefined, write: (_m, _e, done) => done() });
    const input = new StreamInput(idle as unknown as ServerDuplexStream<number, never>);
    const first = input[Symbol.asyncIterator]().next();
    await setImmediate();
    idle.emit(event);
    expect(await first).toMatchObject({ done: true });
  });
});
