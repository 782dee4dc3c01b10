import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect } from 'vitest';
import type { OpenRunResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/OpenRunResponse.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { partOf, shards, TENSORS, type TestBox, type ValueOf } from './crew.js';
import { openRun, SMALL } from './harness.js';
import { read } from './read.js';
import { Upload } from './upload.js';

/** A retention that keeps 4, 6 and 8 of the steps 1 to 9. */
export const RETAIN = { every_steps: 2, count_max: 3 };

const dirs: string[] = [];

afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

/** Makes a new directory, which is removed after the test. */
export async function newDataDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'shadowkeep-'));
  dirs.push(dir);
  return dir;
}

/** The values of a step: small integers, which are exact in BF16 too. */
export const valuesOf =
  (step: number, life = 0): ValueOf =>
  (tensor, index) =>
    step * 8 + tensor * 4 + index + life * 64;

/** Opens the run as one life of a trainer. */
export async function openLife(
  client: ShadowWeightsClient,
  incarnation: string,
  rest: object = {},
): Promise<OpenRunResponse__Output> {
  return await openRun(client, { ...SMALL, tensors: TENSORS, incarnation, ...rest });
}

export type WireDType = 'F32' | 'F64' | 'BF16';

/** Sends a step of all writers and returns what became of it. Checks that all writers are told the same. */
export async function pushAll(
  crew: readonly Upload[],
  parts: readonly (readonly TestBox[])[],
  step: number,
  values: ValueOf,
  dtype: WireDType = 'F32',
): Promise<unknown> {
  for (const [writer, upload] of crew.entries()) upload.push(step, partOf(TENSORS, parts[writer]!, values, dtype));
  const states = await Promise.all(crew.map(async (upload) => (await upload.ack()).state));
  expect(new Set(states).size).toBe(1);
  return states[0];
}

/** Lets one life of a trainer with one writer commit the steps `first` to `last`. Returns what was read after each. */
export async function live(
  client: ShadowWeightsClient,
  generation: number,
  first: number,
  last: number,
  life = 0,
): Promise<Map<number, Buffer>> {
  const upload = new Upload(client).open(generation);
  const whole = shards(TENSORS, 1);
  const bytesOf = new Map<number, Buffer>();
  for (let step = first; step <= last; step++) {
    expect(await pushAll([upload], whole, step, valuesOf(step, life))).toBe('COMMITTED');
    bytesOf.set(step, (await read(client)).bytes);
  }
  await upload.end();
  return bytesOf;
}
