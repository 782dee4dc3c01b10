import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  type CheckpointContent,
  type CheckpointPart,
  type CheckpointPartReader,
  openCheckpoint,
  writeCheckpoint,
} from '../../../src/storage/index.js';
import type { TensorSpec } from '../../../src/storage/safetensors/format.js';
import { byteLength, cut, gather, randomBytes } from '../fixtures.js';

export const RUN = 'run-1';

const AVERAGED: TensorSpec[] = [
  { name: 'w', dtype: 'F32', shape: [4, 3] },
  { name: 'empty', dtype: 'F32', shape: [0] },
  { name: '__proto__', dtype: 'F64', shape: [] },
];
const COPIED: TensorSpec[] = [{ name: 'step', dtype: 'I64', shape: [1] }];

/** A small checkpoint whose every byte depends on `seed`; `extraBytes` makes its first part larger. */
export function sampleContent(seed: number, extraBytes = 0): CheckpointContent {
  const averaged =
    extraBytes === 0 ? AVERAGED : [...AVERAGED, { name: 'x', dtype: 'U8' as const, shape: [extraBytes] }];
  const parts = [
    { name: 'average.ema', tensors: averaged, bytes: pieces(averaged, seed) },
    { name: 'copied', tensors: COPIED, bytes: pieces(COPIED, seed + 1) },
    { name: 'nothing', tensors: [], bytes: [] },
  ];
  return { step: seed, state: { seed, note: 'naïve 🙂', decay: 0.1 + 0.2, zero: -0, list: [null, true] }, parts };
}

async function* pieces(tensors: readonly TensorSpec[], seed: number): AsyncGenerator<Uint8Array> {
  yield* cut(randomBytes(byteLength(tensors), seed), [7, 0, 1 << 20]);
}

/** Which sample the newest checkpoint of RUN is, after its state and every byte of it have been compared. */
export async function readSample(dataDir: string, extraBytes = 0): Promise<number | undefined> {
  const checkpoint = await openCheckpoint(dataDir, RUN);
  if (checkpoint === undefined) return undefined;
  try {
    const expected = sampleContent(checkpoint.step!, extraBytes);
    const found = { state: checkpoint.state, parts: await readParts(checkpoint.parts) };
    const wanted = { state: expected.state, parts: await readParts(expected.parts.map(asReader)) };
    if (!isDeepStrictEqual(found, wanted)) throw new Error(`the checkpoint ${checkpoint.path} is another one`);
    return checkpoint.step;
  } finally {
    await checkpoint.close();
  }
}

export async function writeSample(dataDir: string, seed: number, extraBytes = 0) {
  return writeCheckpoint(dataDir, RUN, sampleContent(seed, extraBytes));
}

export function runDirectoryOf(dataDir: string): string {
  return join(dataDir, RUN);
}

function asReader({ name, tensors, bytes }: CheckpointPart): CheckpointPartReader {
  return {
    name,
    tensors,
    async *read() {
      yield* bytes;
    },
  };
}

async function readParts(parts: CheckpointPartReader[]) {
  return Promise.all(parts.map(async ({ name, tensors, read }) => ({ name, tensors, bytes: await gather(read()) })));
}
