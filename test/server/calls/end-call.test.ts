import { constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { stalledReader } from '../bare-http2.js';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, read } from '../read.js';
import { Upload } from '../upload.js';

// endCall finds a call's HTTP/2 stream in private fields of grpc-js. If these move, no reset comes and this test fails.

const ELEMENTS = 1 << 18;

async function setUp(readStallTimeoutMs: number) {
  const server = await serve({ readStallTimeoutMs, readLeaseMs: 10 });
  const client = rawClient(server);
  // The slow reader has a connection of its own, or its unread bytes would hold up the other answers.
  const slow = rawClient(server, { 'grpc-node.flow_control_window': 1 << 16 });
  const { generation } = await openRun(client, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [ELEMENTS] }] });
  const upload = new Upload(client).open(generation);
  const push = async (step: number): Promise<void> => {
    await upload.push(step, f32Space(new Array(ELEMENTS).fill(step))).ack();
  };
  await push(1);
  return { server, client, slow, push };
}

describe('a reader that never reads', () => {
  test('has its stream reset, and its version is let go', async () => {
    const { server, client, push } = await setUp(100);
    const call = stalledReader(server.port, { run: 'r', chunk_bytes: 4_096 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await push(2);
    // The status cannot pass the bytes that are not read, so the stream is reset.
    expect(await call.closed()).toEqual({ status: undefined, resetCode: constants.NGHTTP2_CANCEL });
    const { readers_connected, memory } = await eventually(async () => {
      const run = await ask(client, 'GetRun');
      return run.memory?.pinned_bytes === 0 ? run : undefined;
    });
    expect({ readers_connected, pinned: memory?.pinned_bytes }).toEqual({ readers_connected: 0, pinned: 0 });
    call.kill();
    expect((await read(client)).header.step).toBe(2);
  });

  test('and then goes on in time is told why it got no more', async () => {
    const { client, slow } = await setUp(100);
    const reader = slow.getShadow({ run: 'r', chunk_bytes: 4_096 });
    const failed = new Promise((_, reject) => reader.on('error', reject));
    failed.catch(() => undefined);
    await new Promise((resolve) => reader.once('readable', resolve));
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 0 ? true : undefined));
    reader.resume();
    await expectError(failed, 'DEADLINE_EXCEEDED', 'READER_STALLED', /^the reader took nothing for 100 ms$/);
  });

  test('a slow one that takes a little now and then is served to the end', async () => {
    const { slow } = await setUp(10_000);
    let bytes = 0;
    for await (const { chunk } of slow.getShadow({ run: 'r', chunk_bytes: 65_536 })) {
      bytes += chunk?.data.length ?? 0;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(bytes).toBe(ELEMENTS * 4);
  });
});
