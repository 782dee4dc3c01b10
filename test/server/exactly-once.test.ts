import { describe, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import type { UpdateRequest } from '../../src/protocol/index.js';
import { BareCall, updateFrame } from './bare-http2.js';
import { pictureOf } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { f32Space, f32Values, read } from './read.js';
import { Upload } from './upload.js';

const ELEMENTS = 80;
const CHUNK_BYTES = 64;

const valuesOf = (step: number): number[] => Array.from({ length: ELEMENTS }, (_, index) => step * 8 + index);

/** The messages of an Update stream for one step. */
function messagesOf(step: number): UpdateRequest[] {
  const space = f32Space(valuesOf(step));
  const messages: UpdateRequest[] = [{ open: { run: 'r', generation: 1 } }];
  for (let offset = 0; offset < space.length; offset += CHUNK_BYTES) {
    messages.push({ chunk: { step, offset, data: space.subarray(offset, offset + CHUNK_BYTES) } });
  }
  return [...messages, { commit: { step, bytes: space.length } }];
}

/**
 * The places where a stream is cut: between messages, in a prefix, in the middle of a message, and before its last
 * byte.
 */
function cuts(frames: readonly Buffer[]): number[] {
  let begin = 0;
  return frames.flatMap(({ length }) => {
    const places = [begin, begin + 3, begin + Math.floor(length / 2), begin + length - 1];
    begin += length;
    return places;
  });
}

/**
 * Sends the first `bytes` bytes, waits until the server has taken all whole messages in them, and breaks the
 * connection.
 */
async function breakAfter(
  port: number,
  client: ShadowWeightsClient,
  frames: readonly Buffer[],
  bytes: number,
): Promise<void> {
  const call = new BareCall(port, 'Update').send(Buffer.concat(frames).subarray(0, bytes));
  let whole = 0;
  for (let end = 0; whole < frames.length && end + frames[whole]!.length <= bytes; whole++)
    end += frames[whole]!.length;
  const staged = Math.max(0, whole - 1) * CHUNK_BYTES;
  if (whole > 0)
    await eventually(async () => ((await ask(client, 'GetRun')).staging_bytes === staged ? true : undefined));
  call.kill();
  await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 0 ? true : undefined));
}

describe('exactly once', () => {
  test('a stream that is killed anywhere in a step leaves no trace, and the step can be sent again', async () => {
    const server = await serve();
    const client = rawClient(server);
    await openRun(client, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [ELEMENTS] }] });
    let step = 0;
    let expected: number[] | undefined;
    const places = cuts(messagesOf(1).map(updateFrame));
    expect(places.length).toBeGreaterThan(25);
    for (const bytes of places) {
      step += 1;
      const frames = messagesOf(step).map(updateFrame);
      // The length of a message depends on the step. A cut past the end is moved to before the last byte.
      const total = frames.reduce((sum, { length }) => sum + length, 0);
      const before = await pictureOf(client);
      await breakAfter(server.port, client, frames, Math.min(bytes, total - 1));
      const after = await pictureOf(client);
      // The staging pages that the first stream took stay with the run as free pages.
      if (step > 1) expect(after).toEqual(before);
      const upload = new Upload(client).open(1).push(step, f32Space(valuesOf(step)));
      expect(await upload.ack()).toMatchObject({ step, state: 'COMMITTED' });
      await upload.end();
      const values = valuesOf(step);
      expected = expected === undefined ? values : expected.map((s, index) => s + 0.5 * (values[index]! - s));
      const { header, bytes: found } = await read(client);
      expect(Number(header.num_updates)).toBe(step);
      expect(f32Values(found, ELEMENTS)).toEqual(expected.map(Math.fround));
    }
  });

  test('a stream that is killed after its commit: the step counts once, however often it is sent again', async () => {
    const server = await serve();
    const client = rawClient(server);
    await openRun(client, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [ELEMENTS] }] });
    for (let step = 1; step <= 10; step++) {
      const frames = messagesOf(step).map(updateFrame);
      const call = new BareCall(server.port, 'Update').send(Buffer.concat(frames));
      // The test reads no ack, so the connection breaks before, while or after the step is committed.
      if (step % 2 === 0) await new Promise((resolve) => call.stream.once('response', resolve));
      call.kill();
      await eventually(async () => ((await ask(client, 'GetRun')).writers_connected === 0 ? true : undefined));
      for (const again of [1, 2]) {
        const upload = new Upload(client).open(1).push(step, f32Space(valuesOf(step)));
        const { state } = await upload.ack();
        if (again === 2) expect(state).toBe('ALREADY_COMMITTED');
        await upload.end();
      }
      expect(Number((await read(client)).header.num_updates)).toBe(step);
    }
  });
});
