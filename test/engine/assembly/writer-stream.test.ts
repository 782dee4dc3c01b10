import { describe, expect, test } from 'vitest';
import { CHUNK_BYTES_MAX, type ShadowkeepError } from '../../../src/common/index.js';
import type { Run, WriterStream } from '../../../src/engine/index.js';
import {
  closeStream,
  commit,
  ema,
  f32,
  f32At,
  makeRun,
  openWriter,
  readAll,
  refusal,
  space,
  tensor,
} from '../fixtures.js';

const STEP_BYTES = 128;
const step = space(f32(...Array.from({ length: 32 }, (_, index) => index)));

function setUp(): { run: Run; writer: WriterStream } {
  const { run } = makeRun([tensor('w', [32])], [ema('a', 0.5, 'FIRST')]);
  return { run, writer: openWriter(run) };
}

describe('a chunk', () => {
  test.each<[string, (writer: WriterStream) => void, ConstructorParameters<typeof ShadowkeepError>[0], RegExp]>([
    [
      'after a gap',
      (w) => w.stage(1, 48, Buffer.alloc(16)),
      'CHUNK_GAP',
      /step 1 at offset 48 with 16 bytes leaves a gap, 32 bytes/,
    ],
    [
      'over what came',
      (w) => w.stage(1, 16, Buffer.alloc(32)),
      'CHUNK_OVERLAP',
      /offset 16 with 32 bytes overlaps, 32 bytes/,
    ],
    ['past the end', (w) => w.stage(1, 32, Buffer.alloc(112)), 'CHUNK_PAST_END', /ends past the step's 128/],
    ['far past the end', (w) => w.stage(1, 2 ** 50, Buffer.alloc(16)), 'CHUNK_PAST_END', /at offset 1125899906842624 /],
    ['cut askew', (w) => w.stage(1, 32, Buffer.alloc(17)), 'CHUNK_UNALIGNED', /does not end on a multiple of 16/],
    ['of nothing', (w) => w.stage(1, 32, Buffer.alloc(0)), 'INVALID_FIELD', /is empty/],
    ['too large', (w) => w.stage(1, 32, Buffer.alloc(CHUNK_BYTES_MAX + 16)), 'INVALID_FIELD', /is larger than 4190208/],
    ['of another step', (w) => w.stage(2, 32, Buffer.alloc(16)), 'STEP_MISMATCH', /step 2 came while step 1/],
  ])('%s is refused, and the step goes on', async (_, attempt, reason, text) => {
    const { run, writer } = setUp();
    writer.stage(1, 0, step.subarray(0, 32));
    expect(() => attempt(writer)).toThrow(expect.toSatisfy(refusal(reason, text)));
    expect(writer).toMatchObject({ step: 1, receivedBytes: 32 });
    writer.stage(1, 32, step.subarray(32));
    expect(await commit(writer, 1, STEP_BYTES)).toMatchObject({ state: 'COMMITTED' });
    expect(readAll(run)).toEqual(step);
  });

  test('is taken whole at every legal cut', async () => {
    for (let cut = 16; cut < STEP_BYTES; cut += 16) {
      const { run, writer } = setUp();
      writer.stage(1, 0, step.subarray(0, cut));
      writer.stage(1, cut, step.subarray(cut));
      await commit(writer, 1, STEP_BYTES);
      expect(readAll(run)).toEqual(step);
    }
  });
});

describe('a commit', () => {
  test.each<[string, number, number, ConstructorParameters<typeof ShadowkeepError>[0], RegExp]>([
    ['too early', 1, STEP_BYTES, 'STEP_INCOMPLETE', /says 128 bytes and 64 arrived, a step of this writer has 128/],
    ['of fewer bytes', 1, 64, 'STEP_INCOMPLETE', /says 64 bytes and 64 arrived/],
    ['of more bytes', 1, 192, 'STEP_INCOMPLETE', /says 192 bytes/],
    ['of another step', 2, STEP_BYTES, 'STEP_MISMATCH', /step 2 came while step 1/],
  ])('%s is refused, and the step goes on', async (_, number, bytes, reason, text) => {
    const { writer } = setUp();
    writer.stage(1, 0, step.subarray(0, 64));
    await expect(commit(writer, number, bytes)).rejects.toSatisfy(refusal(reason, text));
    writer.stage(1, 64, step.subarray(64));
    expect(await commit(writer, 1, STEP_BYTES)).toMatchObject({ state: 'COMMITTED' });
  });

  test('of an old step in the middle of a new one is a mismatch, not a duplicate', async () => {
    const { writer } = setUp();
    writer.stage(5, 0, step);
    await commit(writer, 5, STEP_BYTES);
    writer.stage(6, 0, step.subarray(0, 64));
    await expect(commit(writer, 5, STEP_BYTES)).rejects.toSatisfy(refusal('STEP_MISMATCH', /step 5 came while step 6/));
    expect(writer.receivedBytes).toBe(64);
  });

  test('of an old step is acknowledged without its bytes', async () => {
    const { run, writer } = setUp();
    writer.stage(5, 0, step);
    await commit(writer, 5, STEP_BYTES);
    expect(await commit(writer, 3, 0)).toMatchObject({ state: 'ALREADY_COMMITTED' });
    expect(f32At(readAll(run), 2)).toEqual([0, 1]);
    expect(run.committedStep).toBe(5);
  });
});

test('a writer that ends frees its staging and leaves no trace', async () => {
  const { run, ledger } = makeRun([tensor('w', [32])], [ema('a', 0.5, 'FIRST')]);
  const before = run.memory;
  const writer = openWriter(run);
  writer.stage(1, 0, step.subarray(0, 64));
  expect(run.memory.stagingBytes).toBeGreaterThan(0);
  const used = ledger.usedBytes;
  closeStream(writer);
  expect(run.memory).toMatchObject({ ...before, freeBytes: before.freeBytes + 4_096 });
  expect(() => writer.stage(1, 64, step.subarray(64))).toThrow('broken invariant');
  const second = openWriter(run);
  expect(ledger.usedBytes).toBe(used);
  second.stage(1, 0, step);
  expect(await commit(second, 1, STEP_BYTES)).toMatchObject({ state: 'COMMITTED' });
});
