import type { ClientReadableStream } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import type { RunEvent__Output } from '../../../src/protocol/gen/shadowkeep/v1/RunEvent.js';
import { BareCall, frame } from '../bare-http2.js';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, serve } from '../harness.js';
import { f32Space } from '../read.js';
import { Upload } from '../upload.js';

/** Returns the events of a watch, one by one. */
function follow(stream: ClientReadableStream<RunEvent__Output>): { next: () => Promise<RunEvent__Output> } {
  const events = stream[Symbol.asyncIterator]();
  return { next: async () => (await events.next()).value };
}

describe('WatchRun', () => {
  test('the present state, then each commit', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const watch = follow(client.watchRun({ run: 'r' }));
    expect(await watch.next()).toEqual({
      run: 'r',
      generation,
      averages: [{ name: 'ema', num_updates: 0, movement: null }],
    });
    const upload = new Upload(client).open(generation);
    for (const step of [1, 4, 9]) {
      await upload.push(step, f32Space([1, 2, 3, 4])).ack();
      expect(await watch.next()).toMatchObject({ run: 'r', generation, committed_step: step });
    }
    expect(await follow(client.watchRun({ run: 'r' })).next()).toMatchObject({
      committed_step: 9,
      averages: [{ name: 'ema', num_updates: 3, weight: 0.5 }],
    });
  });

  test('only the steps that are asked for', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const watch = follow(client.watchRun({ run: 'r', every: 4 }));
    await watch.next();
    const upload = new Upload(client).open(generation);
    for (let step = 1; step <= 9; step++) {
      await upload.push(step, f32Space([1, 2, 3, 4])).ack();
      if (step % 4 === 0) expect((await watch.next()).committed_step).toBe(step);
    }
  });

  test('a duplicate is no commit', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const watch = follow(client.watchRun({ run: 'r' }));
    await watch.next();
    const upload = new Upload(client).open(generation);
    for (const step of [1, 1, 2]) await upload.push(step, f32Space([1, 2, 3, 4])).ack();
    expect([await watch.next(), await watch.next()].map(({ committed_step }) => committed_step)).toEqual([1, 2]);
  });

  test('a follower that does not read costs nothing per commit, and then gets the newest', async () => {
    const server = await serve();
    const client = rawClient(server);
    const { generation } = await openRun(client);
    // With a window of one byte not even the first event gets through.
    const stalled = new BareCall(server.port, 'WatchRun', { initialWindowSize: 1 });
    stalled.stream.end(frame(Buffer.from('0a0172', 'hex')));
    const upload = new Upload(client).open(generation);
    for (let step = 1; step <= 200; step++) upload.push(step, f32Space([1, 2, 3, 4]));
    for (let step = 1; step <= 200; step++) expect((await upload.ack()).step).toBe(step);
    const received: Buffer[] = [];
    stalled.stream.on('data', (data: Buffer) => received.push(data));
    stalled.session.setLocalWindowSize(1 << 20);
    stalled.session.settings({ initialWindowSize: 1 << 20 });
    const newest = Buffer.from([0x18, 200, 1]);
    await eventually(() => (Buffer.concat(received).includes(newest) ? true : undefined));
    // grpc-js holds sixteen messages of a stream. Further events were never made.
    expect(countMessages(Buffer.concat(received))).toBeLessThan(25);
    stalled.kill();
  });

  test('three hundred followers over several connections all see the last commit, and hold nobody up', async () => {
    const server = await serve();
    const client = rawClient(server);
    const { generation } = await openRun(client);
    // Three connections are needed, because a connection carries at most 128 streams.
    const connections = Array.from({ length: 3 }, () => rawClient(server, { 'grpc.use_local_subchannel_pool': 1 }));
    const begun: Promise<unknown>[] = [];
    const followers = connections.flatMap((connection) =>
      Array.from({ length: 100 }, () => {
        const seen: number[] = [];
        const stream = connection.watchRun({ run: 'r' });
        stream.on('error', () => undefined);
        begun.push(new Promise((resolve) => stream.once('data', resolve)));
        const last = new Promise<void>((resolve) => {
          stream.on('data', ({ committed_step }: RunEvent__Output) => {
            if (committed_step !== undefined) seen.push(Number(committed_step));
            if (Number(committed_step) === 40) resolve();
          });
        });
        return { seen, last, stream };
      }),
    );
    await Promise.all(begun);
    const upload = new Upload(client).open(generation);
    for (let step = 1; step <= 40; step++) {
      expect((await upload.push(step, f32Space([1, 2, 3, 4])).ack()).state).toBe('COMMITTED');
    }
    await Promise.all(followers.map(({ last }) => last));
    for (const { seen } of followers) {
      expect(seen, 'rising, none twice').toEqual([...new Set(seen)].sort((a, b) => a - b));
      expect(seen.at(-1)).toBe(40);
    }
    for (const { stream } of followers) stream.cancel();
    await upload.push(41, f32Space([1, 2, 3, 4])).ack();
  });

  test('a follower that goes is forgotten', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const stream = client.watchRun({ run: 'r' });
    stream.on('error', () => undefined);
    await new Promise((resolve) => stream.once('data', resolve));
    stream.cancel();
    expect(
      (
        await new Upload(client)
          .open(generation)
          .push(1, f32Space([1, 2, 3, 4]))
          .ack()
      ).state,
    ).toBe('COMMITTED');
  });

  test('an unknown run', async () => {
    const client = rawClient(await serve());
    await expectError(
      follow(client.watchRun({ run: 'nope' })).next(),
      'NOT_FOUND',
      'RUN_NOT_FOUND',
      /^run "nope" does not exist$/,
    );
    expect((await ask(client, 'ListRuns', {})).runs).toEqual([]);
  });
});

function countMessages(bytes: Buffer): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt32BE(at + 1)) count += 1;
  return count;
}
