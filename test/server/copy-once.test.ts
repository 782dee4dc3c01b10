import { beforeEach, describe, expect, test } from 'vitest';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { expectError, pictureOf } from './expect-error.js';
import { ask, openRun, rawClient, serve } from './harness.js';
import { f32Space, f32Values, read } from './read.js';
import { Upload } from './upload.js';

const FROZEN = 4_000;

/** A run whose frozen tensor is declared first and sent last. */
const RUN: OpenRunRequest = {
  run: 'r',
  tensors: [
    { name: 'frozen.w', dtype: 'F32', shape: [FROZEN] },
    { name: 'w', dtype: 'F32', shape: [4] },
    { name: 'n', dtype: 'F32', shape: [1], policy: 'COPY' },
  ],
  policies: [{ pattern: 'frozen.*', policy: 'COPY_ONCE' }],
  averages: [{ name: 'ema', start: 'FIRST', constant: { decay: 0.5 } }],
};

const STEP_BYTES = 128;
const FIRST_STEP_BYTES = 128 + FROZEN * 4;

const without = (value: number): Buffer => f32Space(new Array(4).fill(value), [value]);
const withFrozen = (value: number, frozen: number): Buffer =>
  Buffer.concat([without(value), f32Space(new Array(FROZEN).fill(frozen))]);

let client: ShadowWeightsClient;
let generation: number;

beforeEach(async () => {
  client = rawClient(await serve());
  const opened = await openRun(client, RUN);
  generation = opened.generation;
  expect(opened).toMatchObject({ step_bytes: STEP_BYTES, first_step_bytes: FIRST_STEP_BYTES });
});

async function expectShadow(value: number, copied: number, frozen: number): Promise<void> {
  const { header, bytes } = await read(client);
  expect(header.tensors.map(({ name, offset, averaged }) => [name, Number(offset), averaged])).toEqual([
    ['frozen.w', 0, false],
    ['w', FROZEN * 4, true],
    ['n', FROZEN * 4 + 64, false],
  ]);
  expect(new Set(f32Values(bytes, FROZEN))).toEqual(new Set([frozen]));
  expect(f32Values(bytes, 4, FROZEN * 4)).toEqual(new Array(4).fill(value));
  expect(f32Values(bytes, 1, FROZEN * 4 + 64)).toEqual([copied]);
}

describe('COPY_ONCE', () => {
  test('sent with the first step, left out of the later ones, dropped where it comes again', async () => {
    const upload = new Upload(client).open(generation);
    expect((await upload.next()).opened).toMatchObject({ step_bytes: STEP_BYTES, first_step_bytes: FIRST_STEP_BYTES });
    expect((await upload.push(1, withFrozen(1, 7)).ack()).state).toBe('COMMITTED');
    await expectShadow(1, 1, 7);
    expect((await upload.push(2, without(3)).ack()).state).toBe('COMMITTED');
    await expectShadow(2, 3, 7);
    expect((await upload.push(3, withFrozen(4, 9)).ack()).state).toBe('COMMITTED');
    await expectShadow(3, 4, 7);
  });

  test('its memory for a step in flight is given back after the first one', async () => {
    const MIB = 1 << 20;
    const frozen = { name: 'frozen.w', dtype: 'U8' as const, shape: [4 * MIB] };
    const opened = await openRun(client, { ...RUN, run: 'large', tensors: [frozen, ...(RUN.tensors ?? []).slice(1)] });
    const upload = new Upload(client).open(opened.generation, { run: 'large' });
    await upload.next();
    const look = async () => await ask(client, 'GetRun', { run: 'large' });
    expect((await look()).memory).toMatchObject({ staging_bytes: 5 * MIB, shadow_bytes: 6 * MIB });
    upload.chunk(1, 0, without(1));
    for (let at = 0; at < 4 * MIB; at += MIB) upload.chunk(1, STEP_BYTES + at, Buffer.alloc(MIB, 7));
    expect((await upload.commit(1, STEP_BYTES + 4 * MIB).ack()).state).toBe('COMMITTED');
    expect(await look()).toMatchObject({
      bytes_received: STEP_BYTES + 4 * MIB,
      memory: { staging_bytes: MIB, shadow_bytes: 6 * MIB, free_bytes: 4 * MIB },
    });
    await upload.push(2, without(1)).ack();
    expect((await look()).bytes_received).toBe(2 * STEP_BYTES + 4 * MIB);
  });

  test('a first step without it is refused, and so is a later one with a part of it', async () => {
    await expectError(
      new Upload(client).open(generation).push(1, without(1)).failure(),
      'INVALID_ARGUMENT',
      'STEP_INCOMPLETE',
      /^commit of step 1 says 128 bytes and 128 arrived, a step of this writer has 16128, with the tensors that are sent once$/,
    );
    const upload = new Upload(client).open(generation).push(1, withFrozen(1, 7));
    await upload.ack();
    await upload.end();
    const before = await pictureOf(client);
    await expectError(
      new Upload(client).open(generation).push(2, withFrozen(1, 9).subarray(0, 160)).failure(),
      'INVALID_ARGUMENT',
      'STEP_INCOMPLETE',
      /^commit of step 2 says 160 bytes and 160 arrived, a step of this writer has 128$/,
    );
    expect(await pictureOf(client)).toEqual(before);
  });

  test('a stream that is opened later takes steps of both lengths', async () => {
    const first = new Upload(client).open(generation).push(1, withFrozen(1, 7));
    await first.ack();
    await first.end();
    const second = new Upload(client).open(generation);
    expect((await second.next()).opened).toMatchObject({ step_bytes: STEP_BYTES, first_step_bytes: FIRST_STEP_BYTES });
    expect((await second.push(2, withFrozen(3, 9)).ack()).state).toBe('COMMITTED');
    await expectShadow(2, 3, 7);
    expect((await second.push(3, without(4)).ack()).state).toBe('COMMITTED');
    await expectShadow(3, 4, 7);
  });

  test('a duplicate, a rejected and a skipped step do not count as the first', async () => {
    const upload = new Upload(client).open(generation);
    upload.commit(1, 0, { skipped: true }).push(2, withFrozen(Number.NaN, 9));
    expect([(await upload.ack()).state, (await upload.ack()).state]).toEqual(['SKIPPED', 'REJECTED']);
    expect((await upload.push(3, withFrozen(1, 7)).ack()).state).toBe('COMMITTED');
    expect((await upload.push(3, withFrozen(1, 9)).ack()).state).toBe('ALREADY_COMMITTED');
    await expectShadow(1, 1, 7);
  });

  test('while a reader holds the first version the frozen tensor is not copied', async () => {
    const upload = new Upload(client).open(generation).push(1, withFrozen(1, 7));
    await upload.ack();
    const chunks: Buffer[] = [];
    for await (const { chunk } of client.getShadow({ run: 'r', chunk_bytes: 64 })) {
      if (chunk) chunks.push(chunk.data);
      if (chunks.length === 1) await upload.push(2, without(3)).ack();
    }
    expect(new Set(f32Values(Buffer.concat(chunks), FROZEN + 4))).toEqual(new Set([7, 1]));
    await expectShadow(2, 3, 7);
  });

  test('an average that is added later does not see it', async () => {
    const upload = new Upload(client).open(generation).push(1, withFrozen(1, 7));
    await upload.ack();
    await ask(client, 'AddAverage', { run: 'r', average: { name: 'mean', start: 'FIRST', mean: {} } });
    await upload.push(2, without(5)).ack();
    const { bytes } = await read(client, { average: 'mean' });
    expect([f32Values(bytes, 1)[0], f32Values(bytes, 1, FROZEN * 4)[0]]).toEqual([7, 5]);
  });
});
