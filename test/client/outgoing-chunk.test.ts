import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { createStub } from '../../src/client/channel.js';
import { ChunkMemory, OutgoingChunk, type StepChunk } from '../../src/client/outgoing-chunk.js';
import { type UpdateCall, UpdateStream } from '../../src/client/update-stream.js';
import { shadowWeightsDefinition } from '../../src/protocol/index.js';
import { startPeer, startService } from './support.js';

const CHUNK_BYTES = 1 << 20;

/** A chunk whose every byte is its own. */
function chunkOf(step: number, index: number, bytes = CHUNK_BYTES): StepChunk {
  return { step, offset: index * CHUNK_BYTES, data: Buffer.alloc(bytes, 10 * step + index), crc32c: index };
}

const encoded = (chunk: StepChunk) => shadowWeightsDefinition.Update.requestSerialize({ chunk });

describe('the memory of a chunk', () => {
  test('is not that of the next one while it is not written, and is when it is', () => {
    const memory = new ChunkMemory();
    const [first, second, third] = [0, 1, 2].map((index) => new OutgoingChunk(chunkOf(1, index), memory));
    const frame = first!.frame();
    const before = Buffer.from(frame);
    const other = second!.frame();
    expect(frame.equals(before)).toBe(true);
    first!.written();
    expect(third!.frame().buffer === frame.buffer).toBe(true);
    expect(other.subarray(5).equals(encoded(chunkOf(1, 1)))).toBe(true);
  });

  test('grows with what is sent, and stays when less is', () => {
    const memory = new ChunkMemory();
    const send = (bytes: number) => {
      const chunk = new OutgoingChunk(chunkOf(1, 0, bytes), memory);
      const frame = chunk.frame();
      expect(frame.readUInt32BE(1)).toBe(frame.length - 5);
      chunk.written();
      return frame.buffer;
    };
    const [small, large, smaller] = [send(64), send(64 << 10), send(32)];
    expect([small === large, large === smaller]).toEqual([false, true]);
  });
});

/** Requests are their bytes. */
const bareDefinition = {
  Update: { ...shadowWeightsDefinition.Update, requestDeserialize: (bytes: Buffer) => bytes },
};

const SIZES = [64, 64, 128, 4_096, 64, CHUNK_BYTES, CHUNK_BYTES, 16, CHUNK_BYTES / 2, CHUNK_BYTES];

test('a peer that takes little at a time gets the bytes of every chunk, on streams side by side', async () => {
  const received: Buffer[] = [];
  const Update = (call: ServerDuplexStream<Buffer, object>) => {
    call.on('data', (message: Buffer) => {
      received.push(message);
      call.pause();
      setTimeout(() => call.resume(), 1);
    });
    call.on('end', () => call.end());
  };
  const { target } = await startPeer({ Update }, bareDefinition);
  const stub = createStub(target);
  const listener = { onOpened: () => {}, onAck: () => {}, onFailure: () => {} };
  const steps = [1, 2, 3].map((step) => SIZES.map((bytes, index) => chunkOf(step, index, bytes)));
  await Promise.all(
    steps.map(async (chunks) => {
      const stream = new UpdateStream(stub.Update() as unknown as UpdateCall, listener);
      for (const chunk of chunks) await stream.sendChunk(chunk);
      await stream.close();
    }),
  );
  stub.close();
  const expected = steps.flat().map(encoded);
  expect(received).toHaveLength(expected.length);
  const missing = expected.filter((message) => !received.some((got) => got.equals(message)));
  expect(missing.map((message) => message.toString('hex', 0, 16))).toEqual([]);
});

const DOOR = fileURLToPath(new URL('../../dist/client/index.js', import.meta.url));
const STEPS = 6;

/** Prints how often the whole heap was collected while steps of 64 MiB were pushed. */
const PROGRAM = `
  import { PerformanceObserver, constants } from 'node:perf_hooks';
  const { averageEma, connect } = await import(process.env.DOOR);
  const client = connect(process.env.TARGET);
  const tensors = [{ name: 'w', dtype: 'F32', shape: [1 << 24] }];
  const averages = [averageEma('ema', { decay: 0.9, start: 'FIRST' })];
  const run = await client.openRun({ run: 'pushed', tensors, averages });
  const w = new Float32Array(1 << 24);
  let collections = 0;
  const count = ({ kind }) => { collections += kind === constants.NODE_PERFORMANCE_GC_MAJOR; };
  const observer = new PerformanceObserver((list) => { for (const { detail } of list.getEntries()) count(detail); });
  observer.observe({ entryTypes: ['gc'] });
  for (let step = 1; step <= ${STEPS}; step++) await run.update(step, { w });
  for (const { detail } of observer.takeRecords()) count(detail);
  console.log(collections);
  await run.close();
  client.close();`;

test('steps are pushed without a collection of the whole heap for each', async () => {
  const { target } = await startService();
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', PROGRAM], {
    env: { ...process.env, DOOR, TARGET: target },
  });
  expect(Number(stdout)).toBeLessThan(STEPS);
});
