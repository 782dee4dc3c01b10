import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { ask, openRun, rawClient } from '../server/harness.js';
import { read } from '../server/read.js';
import { Upload } from '../server/upload.js';
import { ROOT } from '../support/source-files.js';

/** 65536, the most, by hand: fewer, and what a slice may count is no less than what all of them are. */
const TENSORS = Number(process.env['SHADOWKEEP_TENSOR_COUNT'] ?? 16_384);

/**
 * How often anything may be done in one go: one look at each tensor is short, a few times each is not, nor is one look at each
 * of four boxes of each, or at each row of a chunk.
 */
const COUNT_MAX = 3 * TENSORS;

const AVERAGES = 16;
const BOXES_EACH = 4;
/** Rows of one byte: as many as a chunk has at most. */
const ROWS = 1 << 22;
const CHUNK_BYTES = 4_190_208;

/** Counting makes the server many times slower: 14 s on a quiet core, minutes on one that other tests share. */
const TIMEOUT_MS = 600_000;

interface Largest {
  readonly count: number;
  readonly where: string;
}

/** The built server in a process of its own, which counts its work (work-count.mjs). */
async function serveCounting() {
  const counter = fileURLToPath(new URL('work-count.mjs', import.meta.url));
  const flags = ['--json', '--listen', '127.0.0.1:0', '--data-dir', 'none', '--log-level', 'error', '--memory', '2GiB'];
  const args = ['--import', counter, `${ROOT}/dist/main.js`, 'serve', ...flags];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  onTestFinished(async () => {
    const exited = once(child, 'exit');
    // What it holds is of no use, and a count may keep it from hearing a signal that it can answer.
    child.kill('SIGKILL');
    await exited;
  });
  const line = await createInterface({ input: child.stdout! })[Symbol.asyncIterator]().next();
  const client = rawClient({ port: Number(/:(\d+)"/.exec(line.value)![1]) });
  /** The most that is done in one go while `action` goes on. */
  const counted = async (action: () => Promise<unknown>): Promise<Largest> => {
    child.send('begin');
    await action();
    child.send('end');
    const [largest] = await once(child, 'message');
    return largest as Largest;
  };
  return { client, counted };
}

const nameOf = (index: number): string => `layer.${String(index).padStart(6, '0')}`;

/** As many averages as a run has, each with its own patterns. */
function largestRun() {
  return {
    run: 'large',
    tensors: Array.from({ length: TENSORS }, (_, index) => ({
      name: nameOf(index),
      dtype: 'F32' as const,
      shape: [4, 4],
    })),
    averages: Array.from({ length: AVERAGES }, (_, average) => ({
      name: `a${average}`,
      start: 'FIRST' as const,
      mean: {},
      exclude: Array.from({ length: 500 }, (_, at) => nameOf((average * 500 + at) % TENSORS)),
    })),
  };
}

/** The four rows of each tensor, in a replica group. */
const rowsOfAll = () =>
  Array.from({ length: BOXES_EACH * TENSORS }, (_, index) => ({
    tensor: Math.floor(index / BOXES_EACH),
    offset: [index % BOXES_EACH, 0],
    extent: [1, 4],
    replica_group: 1,
  }));

/** Sends a step in the largest chunks, and waits for its ack. */
async function push(upload: Upload, bytes: number): Promise<void> {
  for (let offset = 0; offset < bytes; offset += CHUNK_BYTES) {
    upload.chunk(1, offset, Buffer.alloc(Math.min(CHUNK_BYTES, bytes - offset), 1));
  }
  upload.commit(1, bytes);
  expect(await upload.ack()).toMatchObject({ state: 'COMMITTED' });
}

/** Opens a stream, and gives what it opened with. */
async function openStream(client: ShadowWeightsClient, open: object) {
  const upload = new Upload(client).send({ open });
  return { upload, ...(await upload.opened()) };
}

test('no request does anything too often in one go, whichever code does it', { timeout: TIMEOUT_MS }, async () => {
  const { client, counted } = await serveCounting();
  const found: Record<string, Largest> = {};
  let generation = 0;
  found['opening a run'] = await counted(async () => {
    generation = (await openRun(client, largestRun())).generation;
  });
  const boxes = rowsOfAll();
  let stream: Awaited<ReturnType<typeof openStream>> | undefined;
  found['opening a stream'] = await counted(async () => {
    stream = await openStream(client, { run: 'large', generation, boxes });
  });
  found['a step'] = await counted(async () => await push(stream!.upload, stream!.step_bytes));
  await stream!.upload.end();
  found['GetRun'] = await counted(async () => await ask(client, 'GetRun', { run: 'large' }));
  found['a read'] = await counted(async () => await read(client, { run: 'large', average: 'a0' }));
  const table = { name: 't', dtype: 'U8' as const, shape: [ROWS, 2] };
  const weights = { name: 'w', dtype: 'F32' as const, shape: [4] };
  const averages = [{ name: 'a', start: 'FIRST' as const, mean: {} }];
  const opened = await openRun(client, { run: 'rows', tensors: [table, weights], averages });
  const columns = [0, 1].map((column) => ({ tensor: 0, offset: [0, column], extent: [ROWS, 1] }));
  const rows = await openStream(client, {
    run: 'rows',
    generation: opened.generation,
    boxes: [...columns, { tensor: 1 }],
  });
  found['a step of short rows'] = await counted(async () => await push(rows.upload, rows.step_bytes));
  await rows.upload.end();
  const request = { run: 'rows', boxes: columns, chunk_bytes: CHUNK_BYTES };
  found['a read of short rows'] = await counted(async () => await read(client, request));
  console.info(found);
  for (const [what, largest] of Object.entries(found)) {
    // It saw the work at all.
    expect(largest.count, what).toBeGreaterThan(10);
    expect(largest, what).toSatisfy(({ count }: Largest) => count <= COUNT_MAX);
  }
});
