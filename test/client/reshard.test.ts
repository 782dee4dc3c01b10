import { describe, expect, test } from 'vitest';
import { averageEma, averageMean, type BoxSpec, type ShadowkeepClient } from '../../src/client/index.js';
import { randomNumbers } from '../support/expected-ema.js';
import { cutBox } from './box-arrays.js';
import { asF32, f32, failureOf, startService } from './support.js';

const SEED = 23;
const SHAPE = [6, 10] as const;
const random = randomNumbers(SEED);
const W = Float32Array.from({ length: 60 }, () => Math.round(random() * 64) / 64);

async function pushOne(client: ShadowkeepClient): Promise<void> {
  const run = await client.openRun({
    run: 'r',
    tensors: [
      { name: 'count', dtype: 'I64', shape: [] },
      { name: 'w', dtype: 'F32', shape: SHAPE },
    ],
    averages: [averageMean('m')],
  });
  await run.update(1, { count: BigInt64Array.of(9n), w: W });
  await run.close();
}

describe('a read of boxes', () => {
  test('gives the parts in the order in which they are named, as often as they are', async () => {
    const { client } = await startService();
    await pushOne(client);
    const boxes: BoxSpec[] = [
      { tensor: 'w', offset: [1, 3], extent: [4, 5] },
      { tensor: 'count' },
      { tensor: 'w', offset: [6, 0], extent: [0, 10] },
      { tensor: 'w', offset: [0, 9], extent: [6, 1] },
      { tensor: 'w', offset: [1, 3], extent: [4, 5] },
    ];
    const { parts, tensors, step } = await client.getShadow({ run: 'r', boxes });
    expect(step).toBe(1);
    expect(
      parts.map(({ name, dtype, shape, boxOffset, globalShape, averaged }) => ({
        name,
        dtype,
        shape,
        boxOffset,
        globalShape,
        averaged,
      })),
    ).toEqual([
      { name: 'w', dtype: 'F32', shape: [4, 5], boxOffset: [1, 3], globalShape: [6, 10], averaged: true },
      { name: 'count', dtype: 'I64', shape: [], boxOffset: [], globalShape: [], averaged: false },
      { name: 'w', dtype: 'F32', shape: [0, 10], boxOffset: [6, 0], globalShape: [6, 10], averaged: true },
      { name: 'w', dtype: 'F32', shape: [6, 1], boxOffset: [0, 9], globalShape: [6, 10], averaged: true },
      { name: 'w', dtype: 'F32', shape: [4, 5], boxOffset: [1, 3], globalShape: [6, 10], averaged: true },
    ]);
    for (const [index, box] of boxes.entries()) {
      if (box.tensor !== 'w') continue;
      expect(asF32(parts[index]!.data)).toEqual([...cutBox(W, SHAPE, box)]);
      expect(parts[index]!.data.byteOffset % 64).toBe(0);
    }
    expect(Buffer.from(parts[1]!.data).readBigInt64LE()).toBe(9n);
    // A tensor that was read in several boxes is not in `tensors`.
    expect([...tensors.keys()]).toEqual(['count']);
  });

  test('once each is found by name too, and cast on the way', async () => {
    const { client } = await startService();
    await pushOne(client);
    const box = { tensor: 'w', offset: [2, 0], extent: [2, 10] };
    const { tensors, parts } = await client.getShadow({ run: 'r', boxes: [box], dtype: 'BF16' });
    expect(tensors.get('w')).toBe(parts[0]);
    const expected = [...cutBox(W, SHAPE, box)].map((value) => new Uint32Array(f32(value).buffer)[0]! >>> 16);
    const { data } = parts[0]!;
    expect([...new Uint16Array(data.buffer, data.byteOffset, 20)]).toEqual(expected);
  });

  test('streams them', async () => {
    const { client } = await startService();
    await pushOne(client);
    const box = { tensor: 'w', offset: [0, 2], extent: [6, 3] };
    const { header, pieces } = await client.readShadow({ run: 'r', boxes: [box, { tensor: 'count' }] });
    expect(header.tensors.map(({ name, bytes, offset }) => ({ name, bytes, offset }))).toEqual([
      { name: 'w', bytes: 72, offset: 0 },
      { name: 'count', bytes: 8, offset: 128 },
    ]);
    const got: number[] = [];
    for await (const { tensor, data } of pieces) if (tensor.name === 'w') got.push(...asF32(new Uint8Array(data)));
    expect(got).toEqual([...cutBox(W, SHAPE, box)]);
  });

  test.each<[string, BoxSpec, string]>([
    ['of an unknown tensor', { tensor: 'v' }, 'boxes[0] of tensor "v" names a tensor that the run does not have'],
    [
      'outside of its tensor',
      { tensor: 'w', offset: [5, 0], extent: [2, 10] },
      'boxes[0] of tensor "w" has offset 5 and extent 2 in dimension 0, which has 6 elements',
    ],
    ['of a replica group', { tensor: 'w', replicaGroup: 1 }, 'boxes[0].replica_group must be 0 in a read, got 1'],
  ])('%s is refused', async (_, box, message) => {
    const { client } = await startService();
    await pushOne(client);
    expect(await failureOf(client.getShadow({ run: 'r', boxes: [box] }))).toMatchObject({
      reason: 'INVALID_FIELD',
      code: 'INVALID_ARGUMENT',
      message,
    });
  });

  test('and of names is refused; of a run that is not there too', async () => {
    const { client } = await startService();
    await pushOne(client);
    expect(await failureOf(client.getShadow({ run: 'r', boxes: [{ tensor: 'w' }], names: ['w'] }))).toMatchObject({
      reason: 'INVALID_FIELD',
      message: 'names and boxes exclude each other',
    });
    expect(await failureOf(client.getShadow({ run: 'none', boxes: [{ tensor: 'w' }] }))).toMatchObject({
      reason: 'RUN_NOT_FOUND',
    });
  });

  test('of readers that ask for the same version gives the same step, whatever is pushed meanwhile', async () => {
    const { client } = await startService();
    const count = 1 << 20;
    const run = await client.openRun({
      run: 'r',
      tensors: [{ name: 'w', dtype: 'F32', shape: [2, count] }],
      averages: [averageEma('e', { decay: 0, start: 'FIRST' })],
      retain: { everySteps: 1, countMax: 4 },
    });
    for (const step of [1, 2, 3]) await run.update(step, { w: new Float32Array(2 * count).fill(step) });
    const rows = await Promise.all(
      [0, 1].map((row) =>
        client.readShadow({ run: 'r', step: 2, boxes: [{ tensor: 'w', offset: [row, 0], extent: [1, count] }] }),
      ),
    );
    await run.update(4, { w: new Float32Array(2 * count).fill(4) });
    await run.close();
    for (const { header, chunks } of rows) {
      expect(header.step).toBe(2);
      for await (const { data } of chunks) {
        expect(new Float32Array(new Uint8Array(data).buffer).every((value) => value === 2)).toBe(true);
      }
    }
  });
});
