import { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { ResponseStream } from '../../../src/server/calls/write-message.js';
import { PacedWriter } from '../../../src/server/reads/paced-writer.js';

/** Makes a stream that takes a message when the test says so. */
function makeStream(): { stream: Writable & ResponseStream<number>; taken: number[]; takeOne: () => void } {
  const taken: number[] = [];
  let done: (() => void) | undefined;
  const stream = new Writable({
    objectMode: true,
    write(message, _encoding, callback) {
      taken.push(message);
      done = callback;
    },
  });
  return { stream: stream as Writable & ResponseStream<number>, taken, takeOne: () => done?.() };
}

test('eight messages are in flight, and one that is gone makes room for one', async () => {
  const { stream, taken, takeOne } = makeStream();
  const writer = new PacedWriter(stream, 60_000);
  for (let message = 1; message <= 7; message++) expect(await writer.write(message)).toBe(true);
  let hasRoom = false;
  const eighth = writer.write(8).then((inTime) => {
    hasRoom = inTime;
  });
  await setImmediate();
  expect({ hasRoom, buffered: stream.writableLength, taken }).toEqual({ hasRoom: false, buffered: 8, taken: [1] });
  takeOne();
  await eighth;
  expect({ hasRoom, buffered: stream.writableLength }).toEqual({ hasRoom: true, buffered: 7 });
});

test('a peer that takes nothing in time is told, one that is gone is no wait', async () => {
  const { stream } = makeStream();
  const writer = new PacedWriter(stream, 10);
  for (let message = 1; message <= 7; message++) await writer.write(message);
  expect(await writer.write(8)).toBe(false);
  const waiting = writer.write(9);
  stream.destroy();
  expect(await waiting).toBe(true);
  expect(await writer.write(10)).toBe(true);
});
