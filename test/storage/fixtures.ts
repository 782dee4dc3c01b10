import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { DTYPE_BYTES, type DType } from '../../src/common/index.js';
import { StorageError, type StorageErrorCode } from '../../src/storage/errors.js';
import { type TensorSpec, tensorBytes } from '../../src/storage/safetensors/format.js';

/** An empty directory that goes when the test ends. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'shadowkeep-storage-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** xorshift32: the same numbers below 2^32 for the same seed, which the tests name. */
export function randomNumbers(seed: number): () => number {
  // Spread over the bits, and never 0.
  let state = Math.imul(seed, 0x9e3779b1) | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

export function randomBytes(count: number, seed: number): Uint8Array {
  const next = randomNumbers(seed);
  const words = new Uint32Array(Math.ceil(count / 4));
  for (let at = 0; at < words.length; at++) words[at] = next();
  return new Uint8Array(words.buffer, 0, count);
}

export function byteLength(tensors: readonly TensorSpec[]): number {
  return tensors.reduce((sum, tensor) => sum + (tensorBytes(tensor) ?? Number.NaN), 0);
}

/** Each dtype as a matrix of odd size, so that later tensors start at odd addresses; then scalars and empty ones. */
export const EVERY_TENSOR: TensorSpec[] = [
  ...(Object.keys(DTYPE_BYTES) as DType[]).map((dtype) => ({ name: `matrix.${dtype}`, dtype, shape: [3, 5] })),
  { name: 'scalar', dtype: 'F32', shape: [] },
  { name: 'scalar.bool', dtype: 'BOOL', shape: [] },
  { name: 'empty', dtype: 'F64', shape: [0] },
  { name: 'empty.matrix', dtype: 'BF16', shape: [7, 0, 3] },
  { name: 'naïve "quoted" \\ 重み 🙂', dtype: 'U8', shape: [1, 1, 1] },
  { name: 'constructor', dtype: 'F16', shape: [2] },
];

/** Bytes of EVERY_TENSOR: legal booleans are 0 and 1, and 1 is no NaN in any dtype. */
export function everyTensorBytes(): Uint8Array {
  return randomBytes(byteLength(EVERY_TENSOR), 1).map((byte) => byte & 1);
}

/** `bytes` in pieces of these sizes in turn. */
export function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = sizes[index % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

export async function gather(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return new Uint8Array(Buffer.concat(all));
}

/** The StorageError that `promise` fails with, of this code. */
export async function storageFailure(promise: Promise<unknown>, code: StorageErrorCode): Promise<StorageError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  expect(error).toMatchObject({ code });
  return error as StorageError;
}

/** Names of everything in a directory, hidden files too. */
export async function namesIn(path: string): Promise<string[]> {
  return (await readdir(path)).sort();
}

/** A directory inside another one. */
export async function subdirectory(parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await mkdir(path);
  return path;
}
