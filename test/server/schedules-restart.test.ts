import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { expectError } from './expect-error.js';
import { ask, openRun, rawClient, serve } from './harness.js';
import { f32Space, read } from './read.js';
import { Upload } from './upload.js';

/**
 * An average of each schedule, with all else that an average can count. The restart comes in the middle of warm-ups.
 */
const AVERAGES = [
  { name: 'constant', start: 'ZEROS', constant: { decay: 0.9 }, bias_correction: true },
  { name: 'mean', start: 'FIRST', mean: {}, every: 3, every_offset: 1, precision: 'F64' },
  { name: 'half-life', start: 'INITIAL', half_life: { updates: 4 }, decay_unit: 'PER_STEP' },
  { name: 'ratio', start: 'INITIAL', ratio_warmup: { decay: 0.9999, decay_min: 0.1 }, first_index: 1 },
  {
    name: 'inverse',
    start: 'FIRST',
    inverse_power: { inv_gamma: 2, power: 0.75, decay_max: 0.9999 },
    index_unit: 'PUSHES',
    every: 2,
    delay_updates: 2,
  },
  { name: 'ramp', start: 'INITIAL', exponential_ramp: { decay: 0.9999, tau: 20 }, first_index: 3 },
  { name: 'fraction', start: 'INITIAL', half_life_fraction: { fraction: 0.05 }, first_index: 1, include: ['enc.*'] },
  { name: 'annealed', start: 'FIRST', annealed_momentum: { momentum: 0.0002, gamma: 100 }, exclude: ['enc.b'] },
  { name: 'cosine', start: 'FIRST', cosine: { decay: 0.99, steps: 50 }, delay_updates: 4, delay_mode: 'HOLD_UNTIL' },
  { name: 'power', start: 'FIRST', power_function: { sigma_rel: 0.05 }, decay_unit: 'PER_STEP' },
  { name: 'power-wide', start: 'FIRST', power_function: { sigma_rel: 0.1 }, decay_unit: 'PER_STEP', precision: 'F64' },
  { name: 'edm2', start: 'INITIAL', half_life_ramp_up: { half_life: 100, ratio: 0.09 }, decay_unit: 'PER_STEP' },
] as const;

const RUN = {
  run: 'r',
  tensors: [
    { name: 'enc.w', dtype: 'F32', shape: [1_000] },
    { name: 'enc.b', dtype: 'F32', shape: [3] },
    { name: 'dec.w', dtype: 'F32', shape: [77] },
    { name: 'n', dtype: 'F32', shape: [1], policy: 'COPY' },
    { name: 'frozen', dtype: 'F32', shape: [5] },
  ],
  policies: [{ pattern: 'fro*', policy: 'COPY_ONCE' }],
  averages: AVERAGES,
  snapshots: { every_steps: 4, count_max: 4, dtype: 'BF16' },
  non_finite: 'SKIP_TENSOR',
  incarnation: 'one life',
} as unknown as OpenRunRequest;

const ADDED = {
  name: 'added',
  start: 'FIRST',
  cosine: { decay: 0.9, steps: 20 },
  delay_updates: 2,
  delay_mode: 'COPY_EACH_UNTIL',
  every: 2,
  preset: 'x',
};
const ADDED_POWER = { name: 'power-late', start: 'FIRST', power_function: { gamma: 3 }, decay_unit: 'PER_STEP' };

/**
 * A step whose values differ everywhere and need rounding in every fold. The initial push has the frozen tensor too.
 */
function stepOf(step: number): Buffer {
  const wave = (count: number) => Array.from({ length: count }, (_, index) => Math.sin(index * 0.7 + step * 1.3));
  const each = f32Space(wave(1_000), wave(3), wave(77), [step]);
  return step === 0 ? Buffer.concat([each, f32Space([5, 6, 7, 8, 9])]) : each;
}

type Life = readonly (readonly ['push' | 'skip', number] | readonly ['add', object] | readonly ['remove', string])[];

/**
 * What happens before the restart: steps up to the middle of every warm-up, and averages that are added and removed.
 */
const BEFORE: Life = [
  ['push', 0],
  ['push', 1],
  ['push', 2],
  ['skip', 3],
  ['push', 5],
  ['add', ADDED],
  ['push', 6],
  ['add', ADDED_POWER],
  ['remove', 'ratio'],
  ['push', 9],
  ['skip', 12],
  ['push', 13],
];
const AFTER: Life = [
  ['skip', 15],
  ['push', 18],
  ['add', { ...ADDED, name: 'ratio' }],
  ['push', 20],
  ['remove', 'power'],
  ['push', 21],
  ['push', 33],
];

async function live(client: ShadowWeightsClient, life: Life): Promise<void> {
  const { generation } = await openRun(client, RUN);
  const upload = new Upload(client).open(generation);
  for (const [what, how] of life) {
    if (what === 'push') {
      const ack = await upload.push(how, stepOf(how), { initial: how === 0 }).ack();
      expect(ack).toMatchObject({ step: how, state: 'COMMITTED' });
    } else if (what === 'skip') {
      expect((await upload.commit(how, 0, { skipped: true }).ack()).state).toBe('SKIPPED');
    } else if (what === 'add') {
      await ask(client, 'AddAverage', { run: 'r', average: how });
    } else {
      await ask(client, 'RemoveAverage', { run: 'r', average: how });
    }
  }
  await upload.end();
}

/** All that clients can see of the run, without what a restart may change. */
async function everything(client: ShadowWeightsClient): Promise<object> {
  const { averages, states, snapshots, snapshots_held, committed_step, generation } = await ask(client, 'GetRun');
  const bytesOf = async (request: object): Promise<object> => {
    const { header, bytes } = await read(client, request);
    const { step, num_updates, weight, movement, tensors, contributions, fit_error } = header;
    return { step, num_updates, weight, movement, tensors, contributions, fit_error, bytes: bytes.toString('hex') };
  };
  const shadows = [];
  for (const { name } of averages) {
    const isEmpty = states.find((state) => state.name === name)?.num_updates === 0;
    shadows.push([name, isEmpty ? undefined : await bytesOf({ average: name })]);
  }
  const combinations = [];
  for (const step of new Set(snapshots_held.map((snapshot) => Number(snapshot.step)))) {
    combinations.push(await bytesOf({ sigma_rel: 0.08, step }));
  }
  return { averages, states, snapshots, snapshots_held, committed_step, generation, shadows, combinations };
}

async function dataDir(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'shadowkeep-schedules-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

test('a stop in the middle of every warm-up: state, bits, snapshots and averages that came and went', async () => {
  const path = await dataDir();
  const unbroken = rawClient(await serve());
  await live(unbroken, BEFORE);
  const first = await serve({ dataDir: path });
  await live(rawClient(first), BEFORE);
  const saved = await everything(rawClient(first));
  expect(saved).toEqual(await everything(unbroken));
  await first.stop();

  const second = await serve({ dataDir: path });
  expect(await everything(rawClient(second))).toEqual(saved);
  await live(unbroken, AFTER);
  await live(rawClient(second), AFTER);
  const gone = await everything(unbroken);
  expect(await everything(rawClient(second)), 'counts, weights and bits').toEqual(gone);
  await second.stop();
  expect(await everything(rawClient(await serve({ dataDir: path })))).toEqual(gone);
});

test('after each single step the same: a stop loses no moment of a warm-up', async () => {
  const path = await dataDir();
  const unbroken = rawClient(await serve());
  for (const deed of [...BEFORE, ...AFTER]) {
    await live(unbroken, [deed]);
    const server = await serve({ dataDir: path });
    await live(rawClient(server), [deed]);
    await server.stop();
  }
  expect(await everything(rawClient(await serve({ dataDir: path })))).toEqual(await everything(unbroken));
});

test('the trainer’s own request attaches after averages came and went, and so does what the run has become', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  await live(rawClient(first), BEFORE);
  const attached = { created: false, generation: 1, committed_step: 13 };
  expect(await openRun(rawClient(first), RUN)).toMatchObject(attached);
  await first.stop();
  const client = rawClient(await serve({ dataDir: path }));
  expect(await openRun(client, RUN), 'as it was opened').toMatchObject(attached);
  const { averages } = await ask(client, 'GetRun');
  expect(await openRun(client, { ...RUN, averages }), 'as it is now').toMatchObject(attached);
  await expectError(
    openRun(client, { ...RUN, averages: averages.slice(1) }),
    'FAILED_PRECONDITION',
    'AVERAGES_MISMATCH',
    /^run "r": average 0 "constant" is "mean" in the request$/,
  );
});

test('a run that nobody pushed to keeps the averages that were added and removed', async () => {
  const path = await dataDir();
  const first = await serve({ dataDir: path });
  const client = rawClient(first);
  await openRun(client, RUN);
  await ask(client, 'RemoveAverage', { run: 'r', average: 'cosine' });
  await ask(client, 'AddAverage', { run: 'r', average: ADDED });
  await first.stop();
  const second = await serve({ dataDir: path });
  await ask(rawClient(second), 'RemoveAverage', { run: 'r', average: 'mean' });
  await second.stop();
  const { averages } = await ask(rawClient(await serve({ dataDir: path })), 'GetRun');
  const expected = [...AVERAGES, ADDED].map(({ name }) => name).filter((name) => name !== 'cosine' && name !== 'mean');
  expect(averages.map(({ name }) => name)).toEqual(expected);
});
