import { status } from '@grpc/grpc-js';
import { beforeEach, expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../../src/protocol/index.js';
import { type BareCall, stalledReader } from '../bare-http2.js';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, read } from '../read.js';
import { Upload } from '../upload.js';

const BOX_COUNT = 65_536;
const BOXES = Array.from({ length: BOX_COUNT }, (_, index) => ({ offset: [index % 4], extent: [1] }));

/**
 * What the list of a read of boxes takes: columns of 32 bits for tensor, group, first, offset and extent, and a column
 * of 64 bits for the place in the byte space.
 */
const LIST_BYTES = 28 * BOX_COUNT + 4;

const STALL_MS = 1_000;

let client: ShadowWeightsClient;
let port: number;
/** What is free in the ledger before any read. */
let freeBytes: number;

/** Starts a server with a run that has committed one step. */
async function start(options: { memoryBytes?: number; readStallTimeoutMs?: number } = {}): Promise<void> {
  const server = await serve({ readLeaseMs: 0, ...options });
  port = server.port;
  client = rawClient(server);
  const upload = new Upload(client).open((await openRun(client, SMALL)).generation);
  await upload.push(1, f32Space([1, 2, 3, 4])).ack();
  freeBytes = await nowFree();
}

async function nowFree(): Promise<number> {
  return Number((await ask(client, 'GetRun')).memory?.budget_free_bytes);
}

async function untilFree(bytes: number): Promise<void> {
  await eventually(async () => ((await nowFree()) === bytes ? true : undefined));
}

beforeEach(() => start());

test.each<[string, (call: BareCall) => unknown]>([
  [
    'it comes to its end',
    ({ session, stream }) => {
      stream.resume();
      session.setLocalWindowSize(1 << 26);
      session.settings({ initialWindowSize: 1 << 26 });
    },
  ],
  ['it is cancelled', ({ stream }) => stream.close()],
  ['its connection breaks', (call) => call.kill()],
])('the list of a read is reserved, and given back when %s', async (_, end) => {
  const call = stalledReader(port, { run: 'r', boxes: BOXES });
  await untilFree(freeBytes - LIST_BYTES);
  end(call);
  await untilFree(freeBytes);
  call.kill();
});

test('that of a reader that takes nothing is given back when it is ended', async () => {
  await start({ readStallTimeoutMs: STALL_MS });
  const call = stalledReader(port, { run: 'r', boxes: BOXES });
  await eventually(() => (call.stream.closed ? true : undefined));
  await untilFree(freeBytes);
  call.kill();
});

test('that of a read that waits for a step is given back when the step does not come', async () => {
  const waiting = read(client, { min_step: 9, wait_ms: STALL_MS, names: ['w'] }).catch((error) => error.code);
  // A tensor takes 13 bytes: its place in the byte space, its index, and whether it is wanted. The pattern takes 25.
  await untilFree(freeBytes - 13 - 25);
  expect(await waiting).toBe(status.DEADLINE_EXCEEDED);
  await untilFree(freeBytes);
});

test('that of a box that is none is given back', async () => {
  await expect(read(client, { boxes: [...BOXES.slice(1), { tensor: 7 }] })).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
  });
  await untilFree(freeBytes);
});

test('one that does not fit is refused, and what fits is served', async () => {
  let left = freeBytes;
  for (let run = 0; left > 4 * LIST_BYTES; run++) {
    // The shadow takes a third of what is left, so that there is room for a step too.
    const shape = [Math.floor(left / 12)];
    await openRun(client, { ...SMALL, run: `r${run}`, tensors: [{ name: 'w', dtype: 'F32', shape }] });
    left = await nowFree();
  }
  const readers: BareCall[] = [];
  for (; left >= LIST_BYTES; left -= LIST_BYTES) {
    readers.push(stalledReader(port, { run: 'r', boxes: BOXES }));
    await untilFree(left - LIST_BYTES);
  }
  await expectError(
    read(client, { boxes: BOXES }),
    'RESOURCE_EXHAUSTED',
    'MEMORY_EXHAUSTED',
    new RegExp(`^the list of a read needs ${LIST_BYTES} bytes, ${left} of the server's \\d+ are free$`),
  );
  expect((await read(client, { boxes: BOXES.slice(0, 4) })).bytes).toHaveLength(4 * 64);
  expect((await read(client, {})).bytes).toHaveLength(64);
  await untilFree(left);
  for (const call of readers) call.kill();
});
