import { beforeEach, describe, expect, test } from 'vitest';
import { DTYPE_BYTES, type DType } from '../../src/common/index.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { randomNumbers } from '../support/expected-ema.js';
import { elementsOf, shards, type TestBox, type TestTensor } from './crew.js';
import { expectError } from './expect-error.js';
import { openRun, rawClient, SMALL, serve } from './harness.js';
import { f32Space, type ReadResult, read } from './read.js';
import { Upload } from './upload.js';

const SEED = Number(process.env['SHADOWKEEP_SEED'] ?? 20_261_122);

const TENSORS: TestTensor[] = [
  { name: 'w', dtype: 'F32', shape: [6, 4] },
  { name: 'n', dtype: 'I64', shape: [3] },
  { name: 's', dtype: 'F32', shape: [] },
  { name: 'cube', dtype: 'F32', shape: [3, 4, 5] },
  { name: 'bytes', dtype: 'U8', shape: [7, 3] },
];

/** The bytes of a box, cut out of a read of the whole tensor. */
function cut(whole: ReadResult, box: TestBox): Buffer {
  const { name, shape } = TENSORS[box.tensor]!;
  const entry = whole.header.tensors.find((tensor) => tensor.name === name)!;
  const bytes = DTYPE_BYTES[entry.dtype as DType];
  const at = Number(entry.offset);
  const extents = box.extent.length === 0 ? { ...box, offset: shape.map(() => 0), extent: shape } : box;
  const elements = elementsOf(shape, extents).map((index) =>
    whole.bytes.subarray(at + index * bytes, at + (index + 1) * bytes),
  );
  return Buffer.concat(elements);
}

/** The byte space of boxes, made from a read of whole tensors. */
function spaceOf(whole: ReadResult, boxes: readonly TestBox[]): Buffer {
  return Buffer.concat(
    boxes.flatMap((box) => {
      const bytes = cut(whole, box);
      return [bytes, Buffer.alloc((64 - (bytes.length % 64)) % 64)];
    }),
  );
}

const BOXES: TestBox[] = [
  { tensor: 3, offset: [1, 1, 2], extent: [2, 3, 2] },
  { tensor: 2, offset: [], extent: [] },
  { tensor: 0, offset: [0, 3], extent: [6, 1] },
  { tensor: 1, offset: [1], extent: [2] },
  { tensor: 0, offset: [0, 3], extent: [6, 1] },
  { tensor: 4, offset: [2, 1], extent: [5, 2] },
  { tensor: 3, offset: [0, 2, 0], extent: [3, 0, 5] },
  { tensor: 0, offset: [], extent: [] },
  { tensor: 3, offset: [2, 0, 0], extent: [1, 4, 5] },
];

let client: ShadowWeightsClient;
let upload: Upload;

beforeEach(async () => {
  client = rawClient(await serve());
  const { generation } = await openRun(client, { ...SMALL, tensors: TENSORS });
  upload = new Upload(client).open(generation);
  await push(1);
  await push(2);
});

async function push(step: number): Promise<void> {
  const random = randomNumbers(step);
  const numbers = (count: number): number[] => Array.from({ length: count }, random);
  const integers = Buffer.alloc(64);
  for (const at of [0, 1, 2]) integers.writeBigInt64LE(BigInt(step) * 1_000n + BigInt(at), at * 8);
  const bytes = Buffer.concat([Buffer.from(Array.from({ length: 21 }, (_, at) => step * 10 + at)), Buffer.alloc(43)]);
  const data = Buffer.concat([f32Space(numbers(24)), integers, f32Space(numbers(1), numbers(60)), bytes]);
  expect(await upload.push(step, data).ack()).toMatchObject({ step, state: 'COMMITTED' });
}

describe('a read by boxes', () => {
  test('brings them in the order in which they are named, each as often as it is', async () => {
    const whole = await read(client);
    const { header, bytes } = await read(client, { boxes: BOXES });
    expect(bytes).toEqual(spaceOf(whole, BOXES));
    expect(Number(header.total_bytes)).toBe(bytes.length);
    expect(header).toMatchObject({ step: 2, num_updates: 2, version: whole.header.version });
    let offset = 0;
    const expected = BOXES.map((box) => {
      const { name, dtype, shape } = TENSORS[box.tensor]!;
      const isWhole = box.extent.length === 0;
      const entry = {
        name,
        dtype,
        shape: isWhole ? shape : [...box.extent],
        offset,
        averaged: dtype === 'F32',
        box_offset: isWhole ? shape.map(() => 0) : [...box.offset],
        global_shape: shape,
      };
      offset += Math.ceil(cut(whole, box).length / 64) * 64;
      return entry;
    });
    expect(header.tensors).toEqual(expected);
  });

  test.each(['F64', 'BF16', 'F16'] as const)('is cast to %s on the way, copied tensors are not', async (dtype) => {
    const whole = await read(client, { dtype });
    for (const rest of [{}, { chunk_bytes: 16, checksums: true }, { chunk_bytes: 48 }]) {
      expect((await read(client, { dtype, boxes: BOXES, ...rest })).bytes).toEqual(spaceOf(whole, BOXES));
    }
  });

  test('goes on where it broke, at each place where it can break', async () => {
    const { header, bytes } = await read(client, { boxes: BOXES, dtype: 'BF16' });
    const { version } = header;
    for (let offset = 0; offset <= bytes.length; offset += 16) {
      const rest = await read(client, { boxes: BOXES, dtype: 'BF16', resume: { version, offset } });
      expect(rest.bytes).toEqual(bytes.subarray(offset));
      expect(rest.header).toMatchObject({ version, tensors: header.tensors, total_bytes: bytes.length });
    }
    await push(3);
    await expectError(
      read(client, { boxes: BOXES, resume: { version, offset: 16 } }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      new RegExp(`^version ${version} of run "r" is no longer held$`),
    );
    const now = (await read(client)).header.version;
    await expectError(
      read(client, { boxes: BOXES, dtype: 'BF16', resume: { version: now, offset: bytes.length + 16 } }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      new RegExp(`^resume\\.offset must be at most ${bytes.length}, got ${bytes.length + 16}$`),
    );
  });

  test('by evaluators of another world, each its own shards: all get the same step, together the whole', async () => {
    for (const [world, dim] of [
      [3, 0],
      [2, 1],
      [5, 0],
    ] as const) {
      const whole = await read(client);
      // A scalar cannot be divided, so the first reader reads it.
      const tensors = TENSORS.map((tensor) => (tensor.shape.length === 0 ? { ...tensor, shape: [0] } : tensor));
      const parts = shards(tensors, world, dim).map((boxes) => boxes.filter(({ tensor }) => tensor !== 2));
      const reads = await Promise.all(
        parts.map((boxes) => read(client, { boxes, min_step: Number(whole.header.step), wait_ms: 1_000 })),
      );
      for (const [rank, { header, bytes }] of reads.entries()) {
        expect(header.version).toBe(whole.header.version);
        expect(bytes).toEqual(spaceOf(whole, parts[rank]!));
      }
      await push(Number(whole.header.step) + 1);
    }
  });

  test(`of random boxes is what a whole read has there, seed ${SEED}`, async () => {
    console.info(`SHADOWKEEP_SEED=${SEED}`);
    const random = randomNumbers(SEED);
    const below = (count: number): number => Math.floor(((random() + 1) / 2) * count);
    const wholes = { F32: await read(client), BF16: await read(client, { dtype: 'BF16' }) };
    for (let round = 0; round < 60; round++) {
      const boxes = Array.from({ length: 1 + below(12) }, (): TestBox => {
        const tensor = below(TENSORS.length);
        const { shape } = TENSORS[tensor]!;
        const offset = shape.map((extent) => below(extent + 1));
        return { tensor, offset, extent: shape.map((extent, dim) => below(extent - offset[dim]! + 1)) };
      });
      const dtype = below(2) === 0 ? 'F32' : 'BF16';
      const { bytes } = await read(client, { boxes, dtype, chunk_bytes: 16 * (1 + below(8)) });
      expect(bytes, JSON.stringify({ boxes, dtype })).toEqual(spaceOf(wholes[dtype], boxes));
    }
  });
});

describe('a read by boxes of', () => {
  test('an average that takes some tensors is refused where it takes none', async () => {
    const { generation } = await openRun(client, {
      run: 'filtered',
      tensors: [...TENSORS, { name: 'left', dtype: 'F32', shape: [2], policy: 'IGNORE' }],
      averages: [{ name: 'w', start: 'FIRST', constant: { decay: 0.5 }, include: ['w'] }],
    });
    const stream = new Upload(client).open(generation, { run: 'filtered' });
    const { step_bytes } = await stream.opened();
    await stream.push(1, Buffer.alloc(Number(step_bytes))).ack();
    expect((await read(client, { run: 'filtered', boxes: [{ tensor: 0 }, { tensor: 1 }] })).bytes).toHaveLength(192);
    const metadata = await expectError(
      read(client, { run: 'filtered', boxes: [{ tensor: 0 }, { tensor: 3 }] }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^boxes\[1\] is of tensor "cube", which this average does not take$/,
    );
    expect(metadata).toEqual({ field: 'boxes[1]' });
    await expectError(
      read(client, { run: 'filtered', boxes: [{ tensor: 5 }] }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^boxes\[0\] is of tensor "left", which is ignored$/,
    );
  });

  test('a combination is what the whole of it has there', async () => {
    const tensors = TENSORS.slice(0, 1);
    const { generation } = await openRun(client, {
      run: 'power',
      tensors,
      averages: [0.05, 0.1].map((sigma_rel) => ({
        name: `p${sigma_rel}`,
        start: 'FIRST',
        power_function: { sigma_rel },
      })),
      snapshots: { every_steps: 4, count_max: 8 },
    });
    const stream = new Upload(client).open(generation, { run: 'power' });
    const random = randomNumbers(7);
    for (let step = 1; step <= 20; step++) {
      await stream.push(step, f32Space(Array.from({ length: 24 }, random))).ack();
    }
    for (const request of [
      { sigma_rel: 0.07 },
      { sigma_rel: 0.07, step: 12 },
      { sigma_rel: 0.07, dtype: 'F16' },
    ] as const) {
      const whole = await read(client, { run: 'power', ...request });
      const boxes = BOXES.filter(({ tensor }) => tensor === 0);
      const { header, bytes } = await read(client, { run: 'power', ...request, boxes });
      expect(bytes).toEqual(spaceOf(whole, boxes));
      expect(header).toMatchObject({ step: whole.header.step, contributions: whole.header.contributions });
    }
  });

  test('a step that has not come waits for it, and what is wrong with it is said before', async () => {
    const waiting = read(client, { boxes: BOXES, step: 3, wait_ms: 60_000 });
    await expectError(
      read(client, { boxes: [{ tensor: 0, offset: [0, 0], extent: [7, 4] }], step: 3, wait_ms: 60_000 }),
      'INVALID_ARGUMENT',
      'INVALID_FIELD',
      /^boxes\[0\] goes from 0 to 7 in dimension 0 of tensor "w" of shape \[6,4\]$/,
    );
    await push(3);
    const { header, bytes } = await waiting;
    expect(header.step).toBe(3);
    expect(bytes).toEqual(spaceOf(await read(client), BOXES));
  });
});
