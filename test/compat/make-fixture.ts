import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { DTYPE_BYTES, isFloatDType } from '../../src/common/index.js';
import { FLOAT_FORMATS } from '../../src/kernels/float-formats.js';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { partOf, shards, type TestTensor } from '../server/crew.js';
import { ask, openRun, rawClient, serve } from '../server/harness.js';
import { newDataDir } from '../server/lives.js';
import { Upload } from '../server/upload.js';
import { answersOf, type Expected, type FrozenPush, pushFrozen } from './frozen-run.js';

/** One process that sends every dtype, with averages that came and went, snapshots, a skipped step and a rejected one. */
const MIXED: OpenRunRequest = {
  run: 'mixed',
  incarnation: 'first life',
  tensors: [
    { name: 'enc.w', dtype: 'F32', shape: [5, 3] },
    { name: 'mask', dtype: 'BOOL', shape: [3], policy: 'COPY_ONCE' },
    { name: 'enc.h', dtype: 'BF16', shape: [9] },
    { name: 'dec.h', dtype: 'F16', shape: [4] },
    { name: 'scratch', dtype: 'F32', shape: [2], policy: 'IGNORE' },
    { name: 'dec.d', dtype: 'F64', shape: [7] },
    { name: 'steps', dtype: 'I64', shape: [2], policy: 'COPY' },
    { name: 'scale', dtype: 'F8_E4M3', shape: [2], policy: 'COPY' },
  ],
  averages: [
    { name: 'ema', start: 'ZEROS', constant: { decay: 0.875 }, bias_correction: true },
    { name: 'mean', start: 'FIRST', mean: {}, precision: 'F64', every: 2 },
    { name: 'warm', start: 'INITIAL', ratio_warmup: { decay: 0.999 }, include: ['enc.*'] },
    { name: 'gone', start: 'FIRST', mean: {} },
    { name: 'narrow', start: 'FIRST', power_function: { gamma: 16.97 }, exclude: ['dec.d'] },
    { name: 'wide', start: 'FIRST', power_function: { gamma: 6.94 }, exclude: ['dec.d'] },
  ],
  snapshots: { every_steps: 2, count_max: 4, dtype: 'BF16' },
  retain: { every_steps: 2, count_max: 1 },
  non_finite: 'REJECT_STEP',
};

/** The order of the tensors in a step: the last one comes with the initial push only. */
const SENT = ['enc.w', 'enc.h', 'dec.h', 'dec.d', 'steps', 'scale'] as const;

const RANKS = 16;

const SHARDED_TENSORS: TestTensor[] = [
  { name: 'w', dtype: 'F32', shape: [16, 6] },
  { name: 'b', dtype: 'F32', shape: [37] },
];

/** Sixteen processes with a sixteenth of each tensor, in another dtype than the tensors'. */
const SHARDED: OpenRunRequest = {
  run: 'sharded',
  incarnation: 'first life',
  writers: RANKS,
  tensors: SHARDED_TENSORS,
  averages: [
    { name: 'fast', start: 'FIRST', constant: { decay: 0.5 } },
    { name: 'slow', start: 'FIRST', half_life: { updates: 3 }, precision: 'F64', decay_unit: 'PER_STEP' },
  ],
};

const BOXES = shards(SHARDED_TENSORS, RANKS);

/** Quarters from −16 to 16 that differ everywhere: exact in every dtype that is averaged. */
function elementOf(step: number, index: number): number {
  return ((step * 37 + index * 11) % 129) / 4 - 16;
}

/** The byte space of a step of MIXED. */
function mixedBytes(step: number, isInitial: boolean): Buffer {
  return Buffer.concat([...SENT, ...(isInitial ? ['mask'] : [])].map((name, at) => tensorBytes(name, step, at)));
}

function tensorBytes(name: string, step: number, at: number): Buffer {
  const { dtype, shape } = MIXED.tensors!.find((tensor) => tensor.name === name) as TestTensor;
  const count = shape.reduce((product, extent) => product * extent, 1);
  const bytes = Buffer.alloc(Math.ceil((count * DTYPE_BYTES[dtype]) / 64) * 64);
  if (!isFloatDType(dtype)) return bytes.fill(dtype === 'BOOL' ? 1 : step, 0, count * DTYPE_BYTES[dtype]);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let index = 0; index < count; index++) {
    FLOAT_FORMATS[dtype].write(view, index * DTYPE_BYTES[dtype], elementOf(step, at * 8 + index));
  }
  return bytes;
}

function mixedPush(step: number): FrozenPush {
  return { step, parts: [{ open: {}, bytes: mixedBytes(step, false).toString('base64') }] };
}

function shardedPush(step: number): FrozenPush {
  const values = (tensor: number, index: number) => elementOf(step, tensor * 96 + index);
  const parts = BOXES.map((boxes, writer) => {
    const bytes = partOf(SHARDED_TENSORS, boxes, values, 'BF16').toString('base64');
    return { open: { writer, boxes, wire_dtype: 'BF16' }, bytes };
  });
  return { step, parts };
}

/** Both runs up to their checkpoint. */
async function liveUntilCheckpoint(client: ShadowWeightsClient): Promise<void> {
  const { generation } = await openRun(client, MIXED);
  const upload = new Upload(client).open(generation, { run: 'mixed' });
  const states: string[] = [];
  const push = async (step: number, bytes: Buffer, rest: object = {}): Promise<void> => {
    states.push((await upload.push(step, bytes, rest).ack()).state);
  };
  await push(0, mixedBytes(0, true), { initial: true });
  for (const step of [1, 2]) await push(step, mixedBytes(step, false));
  await push(3, Buffer.alloc(0), { skipped: true });
  await ask(client, 'AddAverage', {
    run: 'mixed',
    average: { name: 'late', start: 'FIRST', cosine: { decay: 0.9, steps: 9 } },
  });
  await ask(client, 'RemoveAverage', { run: 'mixed', average: 'gone' });
  for (const step of [4, 5, 6]) await push(step, mixedBytes(step, false));
  const notFinite = mixedBytes(7, false);
  notFinite.writeFloatLE(Number.NaN, 0);
  await push(7, notFinite);
  await upload.end();
  const sharded = (await openRun(client, SHARDED)).generation;
  for (const step of [1, 2, 3]) states.push(...(await pushFrozen(client, 'sharded', sharded, shardedPush(step))));
  const committed = Array(3).fill('COMMITTED');
  expect(states).toEqual([...committed, 'SKIPPED', ...committed, 'REJECTED', ...committed]);
}

/** The next life of each trainer: it is in `lineage.json` and in no checkpoint. */
async function openAgain(client: ShadowWeightsClient): Promise<number[]> {
  const generations: number[] = [];
  for (const request of [MIXED, SHARDED]) {
    generations.push((await openRun(client, { ...request, incarnation: 'second life' })).generation);
  }
  return generations;
}

/**
 * Makes a fixture in `directory`: `data/`, as a server leaves it that was stopped, started, and killed when the next life of
 * each trainer had been told its generation; and `expected.json`, by a server that never stopped.
 */
export async function makeFixture(directory: string): Promise<void> {
  const dataDir = await newDataDir();
  const first = await serve({ dataDir });
  await liveUntilCheckpoint(rawClient(first));
  await first.stop();
  const second = await serve({ dataDir });
  const generations = await openAgain(rawClient(second));
  await cp(dataDir, join(directory, 'data'), { recursive: true });
  const expected: Expected = { runs: await expectedRuns(generations) };
  await writeFile(join(directory, 'expected.json'), `${JSON.stringify(expected)}\n`);
}

async function expectedRuns(generations: readonly number[]): Promise<Expected['runs']> {
  const client = rawClient(await serve());
  await liveUntilCheckpoint(client);
  const unbroken = await openAgain(client);
  const runs: Expected['runs'][number][] = [];
  const pushes = [
    ['mixed', mixedPush(6), mixedPush(8)],
    ['sharded', shardedPush(3), shardedPush(4)],
  ] as const;
  for (const [index, [run, again, next]] of pushes.entries()) {
    const answers = await answersOf(client, run);
    await pushFrozen(client, run, unbroken[index]!, next);
    const answersAfterNext = await answersOf(client, run);
    runs.push({ run, generation: generations[index]!, answers, again, next, answersAfterNext });
  }
  return runs;
}
