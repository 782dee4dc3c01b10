import { describe, expect, test } from 'vitest';
import type { NonFinite } from '../../src/protocol/gen/shadowkeep/v1/NonFinite.js';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, openRun, rawClient, serve } from './harness.js';
import { f32Space, f32Values, read } from './read.js';
import { Upload } from './upload.js';

const NAN = Number.NaN;
const INF = Number.POSITIVE_INFINITY;

/** A run with two averaged tensors, one of them long, and a copied tensor, whose values are not checked. */
const RUN: OpenRunRequest = {
  run: 'r',
  tensors: [
    { name: 'a', dtype: 'F32', shape: [2] },
    { name: 'long', dtype: 'F32', shape: [1_000] },
    { name: 'copied', dtype: 'F32', shape: [1], policy: 'COPY' },
  ],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.5 } },
    { name: 'mean', start: 'FIRST', mean: {}, precision: 'F64', include: ['long'] },
  ],
};

interface Values {
  readonly a?: number;
  /** The value at element 700 of `long`. */
  readonly long?: number;
  readonly copied?: number;
}

/** A step of ones, except for the given values. */
function stepOf({ a = 1, long = 1, copied = 1 }: Values, rest = 1): Buffer {
  const values = new Array<number>(1_000).fill(rest);
  values[700] = long === 1 ? rest : long;
  return f32Space([a === 1 ? rest : a, rest], values, [copied]);
}

const LONG_AT = 64;
const COPIED_AT = 64 + 4_032;

async function begin(
  non_finite?: NonFinite,
): Promise<{ client: ShadowWeightsClient; upload: Upload; generation: number }> {
  const client = rawClient(await serve());
  const { generation } = await openRun(client, non_finite === undefined ? RUN : { ...RUN, non_finite });
  return { client, upload: new Upload(client).open(generation), generation };
}

const rejectedSteps = async (client: ShadowWeightsClient) => Number((await ask(client, 'GetRun')).non_finite_steps);

describe('REJECT_STEP, the default', () => {
  test.each([
    ['NaN', { a: NAN }, 'tensor "a" is not finite at element 0'],
    ['∞', { long: INF }, 'tensor "long" is not finite at element 700'],
    ['−∞', { long: -INF }, 'tensor "long" is not finite at element 700'],
    ['two, of which the first is told', { a: -INF, long: NAN }, 'tensor "a" is not finite at element 0'],
  ] as const)('%s: the step changes nothing, the next one goes on', async (_, values, detail) => {
    const { client, upload, generation } = await begin();
    expect((await ask(client, 'GetRun')).non_finite).toBe('REJECT_STEP');
    await upload.push(1, stepOf({})).ack();
    await upload.end();
    const before = await pictureOf(client);
    const second = new Upload(client).open(generation).push(2, stepOf(values, 5));
    expect(await second.ack()).toMatchObject({ step: 2, state: 'REJECTED', committed_step: 1, detail });
    await second.end();
    expect(await pictureOf(client)).toEqual(before);
    expect(await rejectedSteps(client)).toBe(1);
    const third = new Upload(client).open(generation).push(2, stepOf({}, 3));
    expect(await third.ack(), 'the same step, whole now').toMatchObject({ step: 2, state: 'COMMITTED', detail: '' });
    expect(f32Values((await read(client, { average: 'ema' })).bytes, 2)).toEqual([2, 2]);
    expect(await rejectedSteps(client)).toBe(1);
  });

  test('on one stream, wherever the bytes are cut', async () => {
    const { client, upload } = await begin();
    const bad = stepOf({ long: NAN });
    for (let step = 1; step <= 5; step++) {
      const cut = 16 * step * 7;
      for (let at = 0; at < bad.length; at += cut) upload.chunk(step, at, bad.subarray(at, at + cut));
      upload.commit(step, bad.length);
      const ack = await upload.ack();
      expect(ack).toMatchObject({ step, state: 'REJECTED', detail: 'tensor "long" is not finite at element 700' });
      expect(ack, 'nothing is committed').not.toHaveProperty('committed_step');
    }
    expect(await rejectedSteps(client)).toBe(5);
    expect((await upload.push(6, stepOf({})).ack()).state).toBe('COMMITTED');
  });

  test('of an initial push too', async () => {
    const { client, upload } = await begin();
    expect((await upload.push(0, stepOf({ a: NAN }), { initial: true }).ack()).state).toBe('REJECTED');
    await expectError(
      read(client, { average: 'ema' }),
      'FAILED_PRECONDITION',
      'NOTHING_COMMITTED',
      /^run "r": nothing is committed yet$/,
    );
    expect((await upload.push(0, stepOf({}), { initial: true }).ack()).state).toBe('COMMITTED');
  });

  test('copied tensors may hold what they like, and the largest finite number is finite', async () => {
    const { client, upload } = await begin();
    const largest = 3.4028234663852886e38;
    expect((await upload.push(1, stepOf({ a: largest, copied: NAN })).ack()).state).toBe('COMMITTED');
    const { bytes } = await read(client, { average: 'ema' });
    expect(f32Values(bytes, 1)).toEqual([largest]);
    expect(f32Values(bytes, 1, COPIED_AT)).toEqual([NAN]);
    expect(await rejectedSteps(client)).toBe(0);
  });

  test('in the dtype of the wire', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client, RUN);
    const upload = new Upload(client).open(generation, { wire_dtype: 'BF16' });
    const space = Buffer.alloc(64 + 2_048 + 64);
    // Element 9 of `long` is +∞ in BF16.
    space.writeUInt16LE(0x7f80, 64 + 18);
    expect(await upload.push(1, space).ack()).toMatchObject({
      state: 'REJECTED',
      detail: 'tensor "long" is not finite at element 9',
    });
    expect(await rejectedSteps(client)).toBe(1);
  });
});

describe('SKIP_TENSOR', () => {
  test('a tensor keeps its shadow in every average, the others are folded', async () => {
    const { client, upload } = await begin('SKIP_TENSOR');
    await upload.push(1, stepOf({})).ack();
    expect(await upload.push(2, stepOf({ long: NAN, copied: 7 }, 3)).ack()).toMatchObject({
      step: 2,
      state: 'COMMITTED',
      committed_step: 2,
      detail: 'tensor "long" is not finite at element 700',
    });
    const ema = await read(client, { average: 'ema' });
    expect(f32Values(ema.bytes, 2)).toEqual([2, 2]);
    expect(new Set(f32Values(ema.bytes, 1_000, LONG_AT))).toEqual(new Set([1]));
    expect(f32Values(ema.bytes, 1, COPIED_AT)).toEqual([7]);
    const mean = await read(client, { average: 'mean', names: ['long'] });
    expect(mean.bytes.readDoubleLE(700 * 8)).toBe(1);
    expect(await rejectedSteps(client)).toBe(1);
    expect((await upload.push(3, stepOf({}, 4)).ack()).detail).toBe('');
    expect(f32Values((await read(client, { average: 'ema' })).bytes, 2)).toEqual([3, 3]);
    expect(f32Values((await read(client, { average: 'ema' })).bytes, 1, LONG_AT)).toEqual([2.5]);
  });

  test('while a reader holds the version before, what is skipped is what it was', async () => {
    const { client, upload } = await begin('SKIP_TENSOR');
    await upload.push(1, stepOf({})).ack();
    const stream = client.getShadow({ run: 'r', average: 'ema', chunk_bytes: 16 });
    const chunks: Buffer[] = [];
    for await (const { chunk } of stream) {
      if (chunk) chunks.push(chunk.data);
      if (chunks.length === 1) await upload.push(2, stepOf({ long: INF }, 3)).ack();
    }
    expect(f32Values(Buffer.concat(chunks), 2)).toEqual([1, 1]);
    const { bytes } = await read(client, { average: 'ema' });
    expect(f32Values(bytes, 2)).toEqual([2, 2]);
    expect(new Set(f32Values(bytes, 1_000, LONG_AT))).toEqual(new Set([1]));
  });

  test('a tensor that has no shadow yet begins with what comes, and the ack names it', async () => {
    const { client, upload } = await begin('SKIP_TENSOR');
    const detail = 'tensor "a" is not finite at element 0';
    expect(await upload.push(1, stepOf({ a: -INF })).ack()).toMatchObject({ state: 'COMMITTED', detail });
    expect(await upload.push(2, stepOf({ a: -INF }, 3)).ack()).toMatchObject({ state: 'COMMITTED', detail });
    const { bytes } = await read(client, { average: 'ema' });
    expect(f32Values(bytes, 2)).toEqual([-INF, 1]);
    expect(f32Values(bytes, 1, LONG_AT)).toEqual([2]);
    expect(await rejectedSteps(client)).toBe(2);
  });
});

describe('ACCEPT', () => {
  test('they are folded as they are, and counted', async () => {
    const { client, upload } = await begin('ACCEPT');
    await upload.push(1, stepOf({})).ack();
    expect(await upload.push(2, stepOf({ a: INF }, 3)).ack()).toMatchObject({ step: 2, state: 'COMMITTED' });
    expect(f32Values((await read(client, { average: 'ema' })).bytes, 2)).toEqual([INF, 2]);
    expect(await rejectedSteps(client)).toBe(1);
  });
});
