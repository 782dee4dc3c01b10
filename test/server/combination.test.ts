import { beforeEach, describe, expect, test } from 'vitest';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { stalledReader } from './bare-http2.js';
import { expectError } from './expect-error.js';
import { ask, eventually, openRun, rawClient, serve } from './harness.js';
import { f32Space, f32Values, read } from './read.js';
import { Upload } from './upload.js';

const COUNT = 300;

/** A run with the two power functions of EDM2, which take two of three tensors, and an average of another kind. */
const RUN: OpenRunRequest = {
  run: 'r',
  tensors: [
    { name: 'w', dtype: 'F32', shape: [COUNT] },
    { name: 'n', dtype: 'I64', shape: [] },
    { name: 'b', dtype: 'F32', shape: [2] },
  ],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.5 } },
    { name: 'narrow', start: 'FIRST', power_function: { sigma_rel: 0.05 }, precision: 'F64' },
    { name: 'wide', start: 'FIRST', power_function: { sigma_rel: 0.1 }, precision: 'F64' },
  ],
  snapshots: { every_steps: 8, count_max: 16, dtype: 'F64' },
};

/** Weights with a trend and a wave, which averages of different widths show differently. */
const weightAt = (step: number, index: number): number => step / 10 + Math.sin(step / 5 + index);

function stepOf(step: number): Buffer {
  const integer = Buffer.alloc(64);
  integer.writeBigInt64LE(BigInt(step), 0);
  const weights = Array.from({ length: COUNT }, (_, index) => weightAt(step, index));
  const [w, b] = [f32Space(weights), f32Space([weightAt(step, 500), 1])];
  return Buffer.concat([w, integer, b]);
}

const BOTH = 8;
const STEPS = 64;

let client: ShadowWeightsClient;
let port: number;
let upload: Upload;

beforeEach(async () => {
  const server = await serve({ readLeaseMs: 60_000 });
  port = server.port;
  client = rawClient(server);
  upload = new Upload(client).open((await openRun(client, RUN)).generation);
  for (let step = 1; step <= STEPS; step++) upload.push(step, stepOf(step));
  for (let step = 1; step <= STEPS; step++) expect((await upload.ack()).state).toBe('COMMITTED');
});

/** The power function of exponent γ, in float64, of the weights that were sent as float32. */
function expected(gamma: number, index: number, last: number): number {
  let shadow = 0;
  for (let step = 1; step <= last; step++) {
    const weight = 1 - (1 - 1 / step) ** (gamma + 1);
    shadow += weight * (Math.fround(weightAt(step, index)) - shadow);
  }
  return shadow;
}

/** The exponent of a relative width, by bisection (Karras et al. 2023, equation 126). */
function exponentOfWidth(width: number): number {
  let [low, high] = [0, 1_000];
  for (let times = 0; times < 100; times++) {
    const gamma = (low + high) / 2;
    if ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) > width ** 2) low = gamma;
    else high = gamma;
  }
  return low;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

describe('a combination', () => {
  test('is near the average that was not kept, and says what it is made of', async () => {
    const { header, bytes } = await read(client, { sigma_rel: 0.075, dtype: 'F64' });
    expect(header).toMatchObject({ average: '', step: STEPS, num_updates: 0, weight: 0, movement: null });
    expect(sum(header.contributions.map(({ weight }) => weight))).toBeCloseTo(1, 12);
    expect(header.contributions).toHaveLength((STEPS / BOTH) * 2);
    expect(new Set(header.contributions.map(({ average }) => average))).toEqual(new Set(['narrow', 'wide']));
    expect(header.contributions.every(({ step }) => Number(step) % BOTH === 0)).toBe(true);
    expect(header.fit_error).toBeGreaterThan(0);
    expect(header.fit_error).toBeLessThan(0.02);
    const gamma = exponentOfWidth(0.075);
    for (const index of [0, 1, 77, 299]) {
      expect(Math.abs(bytes.readDoubleLE(index * 8) - expected(gamma, index, STEPS))).toBeLessThan(0.02);
    }
  });

  test('is what the contributions say of the snapshots, to the last digits', async () => {
    const kept = new Map<string, number[]>();
    for (const average of ['narrow', 'wide']) {
      for (let step = BOTH; step <= STEPS; step += BOTH) {
        const gamma = await exponentOf(average);
        kept.set(
          `${average} ${step}`,
          Array.from({ length: 3 }, (_, index) => expected(gamma, index, step)),
        );
      }
    }
    const { header, bytes } = await read(client, { gamma: 9, dtype: 'F64' });
    for (const index of [0, 1, 2]) {
      const parts = header.contributions.map(({ average, step, weight }) => {
        return weight * (kept.get(`${average} ${step}`)?.[index] ?? Number.NaN);
      });
      expect(bytes.readDoubleLE(index * 8)).toBeCloseTo(sum(parts), 9);
    }
  });

  test('of an exponent that is kept is that average itself', async () => {
    const gamma = await exponentOf('wide');
    const { header, bytes } = await read(client, { gamma, dtype: 'F64' });
    expect(header.fit_error).toBe(0);
    expect(header.contributions.filter(({ weight }) => weight !== 0)).toEqual([
      { average: 'wide', step: STEPS, gamma, weight: 1 },
    ]);
    expect(bytes).toEqual((await read(client, { average: 'wide' })).bytes);
  });

  test('of weights that never changed is those weights', async () => {
    const { bytes } = await read(client, { sigma_rel: 0.2, names: ['b'] });
    expect(f32Values(bytes, 2)[1]).toBeCloseTo(1, 6);
  });

  test('at the step of a snapshot knows nothing of what came after it', async () => {
    const { header, bytes } = await read(client, { sigma_rel: 0.1, step: 24, dtype: 'F64' });
    expect(header.step).toBe(24);
    expect(Math.max(...header.contributions.map(({ step }) => Number(step)))).toBe(24);
    const gamma = await exponentOf('wide');
    expect(gamma).toBeCloseTo(exponentOfWidth(0.1), 9);
    for (const index of [0, 299]) expect(bytes.readDoubleLE(index * 8)).toBeCloseTo(expected(gamma, index, 24), 9);
    await expectError(
      read(client, { sigma_rel: 0.1, step: 25 }),
      'NOT_FOUND',
      'VERSION_NOT_FOUND',
      /^run "r" kept nothing of step 25 to combine, it has 8, 16, 24, 32, 40, 48, 56, 64$/,
    );
  });

  test('at the step of a snapshot, also while nothing has been folded since', async () => {
    await upload.commit(STEPS + 1, 0, { skipped: true }).ack();
    const before = await read(client, { sigma_rel: 0.07, step: STEPS });
    expect(before.header.step).toBe(STEPS);
    expect((await read(client, { sigma_rel: 0.07 })).bytes).toEqual(before.bytes);
  });

  test('of a step that is still to come is waited for', async () => {
    const waiting = read(client, { sigma_rel: 0.1, step: STEPS + 1, wait_ms: 60_000 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await upload.push(STEPS + 1, stepOf(STEPS + 1)).ack();
    expect((await waiting).header.step).toBe(STEPS + 1);
  });

  test('has the tensors that are asked for; what is copied is that of the newest version', async () => {
    const { header, bytes } = await read(client, { sigma_rel: 0.1, names: ['n', 'b'], dtype: 'BF16' });
    expect(header.tensors.map(({ name, dtype, averaged }) => [name, dtype, averaged])).toEqual([
      ['n', 'I64', false],
      ['b', 'BF16', true],
    ]);
    expect(bytes.readBigInt64LE(0)).toBe(BigInt(STEPS));
    expect(bytes.readUInt16LE(66), '1 in BF16').toBe(0x3f80);
  });

  test('goes on where its read broke off, in the same version', async () => {
    const request = { sigma_rel: 0.12, chunk_bytes: 16 };
    const whole = await read(client, request);
    const reader = stalledReader(port, { run: 'r', ...request });
    const readers = (count: number) => async () =>
      (await ask(client, 'GetRun')).readers_connected === count ? true : undefined;
    await eventually(readers(1));
    reader.kill();
    await eventually(readers(0));
    for (const step of [65, 66, 72]) await upload.push(step, stepOf(step)).ack();
    const { version } = whole.header;
    for (const offset of [0, 16, 640]) {
      const rest = await read(client, { ...request, resume: { version, offset } });
      expect(rest.header).toEqual(whole.header);
      expect(rest.bytes).toEqual(whole.bytes.subarray(offset));
    }
    expect((await read(client, request)).bytes).not.toEqual(whole.bytes);
  });

  test('takes no memory of the run but for the snapshots, which are counted', async () => {
    const { memory, snapshots_held, snapshots } = await ask(client, 'GetRun');
    expect(snapshots).toMatchObject({ every_steps: BOTH, count_max: 16, dtype: 'F64' });
    expect(snapshots_held).toHaveLength(16);
    expect(sum(snapshots_held.map(({ bytes }) => Number(bytes)))).toBe(memory?.snapshot_bytes);
    await read(client, { sigma_rel: 0.07 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 0 ? true : undefined));
    expect((await ask(client, 'GetRun')).memory).toEqual(memory);
  });
});

describe('snapshots', () => {
  test('thin out over the whole training when there are as many as may be', async () => {
    const { generation } = await openRun(client, { ...RUN, run: 'long', snapshots: { every_steps: 2, count_max: 4 } });
    const stream = new Upload(client).open(generation, { run: 'long' });
    for (let step = 1; step <= 40; step++) stream.push(step, stepOf(step));
    for (let step = 1; step <= 40; step++) await stream.ack();
    const held = (await ask(client, 'GetRun', { run: 'long' })).snapshots_held;
    const steps = held.filter(({ average }) => average === 'wide').map(({ step }) => Number(step));
    // Step 40 was taken while the cadence was every eighth step. Since then it is every sixteenth.
    expect(steps).toEqual([16, 32, 40]);
  });

  test('before any update there is nothing to combine', async () => {
    const { generation } = await openRun(client, { ...RUN, run: 'new' });
    await expectError(
      read(client, { run: 'new', sigma_rel: 0.1 }),
      'FAILED_PRECONDITION',
      'NOTHING_COMMITTED',
      /^run "new": nothing is committed yet$/,
    );
    await new Upload(client).open(generation, { run: 'new' }).push(0, stepOf(0), { initial: true }).ack();
    await expectError(
      read(client, { run: 'new', sigma_rel: 0.1 }),
      'FAILED_PRECONDITION',
      'NOTHING_TO_COMBINE',
      /^run "new" has no power-function average that has been updated, a combination needs one or more$/,
    );
  });
});

/** The exponent of an average, as GetRun tells it. */
async function exponentOf(name: string): Promise<number> {
  const { averages } = await ask(client, 'GetRun');
  return averages.find((average) => average.name === name)?.power_function?.gamma ?? Number.NaN;
}
