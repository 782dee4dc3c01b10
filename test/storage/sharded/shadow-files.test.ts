import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { TensorSpec } from '../../../src/storage/safetensors/format.js';
import { SafetensorsReader } from '../../../src/storage/safetensors/reader.js';
import { createShadowFiles, type ShadowFilesOptions } from '../../../src/storage/sharded/shadow-files.js';
import {
  byteLength,
  cut,
  gather,
  namesIn,
  randomBytes,
  storageFailure,
  subdirectory,
  temporaryDirectory,
} from '../fixtures.js';
import { canMount, mountSmallDisk } from '../small-disk.js';

const mounting = canMount();

/** 40, 0, 24, 200, 8, 0 bytes. */
const TENSORS: TensorSpec[] = [
  { name: 'a', dtype: 'F32', shape: [10] },
  { name: 'none', dtype: 'F32', shape: [0] },
  { name: 'b', dtype: 'F64', shape: [3] },
  { name: 'large', dtype: 'U8', shape: [200] },
  { name: '__proto__', dtype: 'I64', shape: [] },
  { name: 'last', dtype: 'F16', shape: [0, 2] },
];
const BYTES = randomBytes(byteLength(TENSORS), 4);
const SHARDS = [1, 2, 3].map((number) => `model-0000${number}-of-00003.safetensors`);
const INDEX = 'model.safetensors.index.json';

async function write(path: string, options: ShadowFilesOptions = {}, sizes = [50]) {
  const files = await createShadowFiles(path, TENSORS, options);
  for (const piece of cut(BYTES, sizes)) await files.write(piece);
  return files.finish();
}

/** Tensor names, and all bytes in the order of the files. */
async function readAll(paths: string[]) {
  const names: string[] = [];
  const bytes: Uint8Array[] = [];
  for (const path of paths) {
    const reader = await SafetensorsReader.open(path);
    names.push(...reader.file.tensors.map((tensor) => tensor.name));
    bytes.push(await gather(reader.readData()));
    await reader.close();
  }
  return { names, bytes: new Uint8Array(Buffer.concat(bytes)) };
}

const allNames = TENSORS.map((tensor) => tensor.name);

describe('one file', () => {
  test('is exactly the path that was asked for', async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, 'ema.safetensors');
    const result = await write(path, { metadata: { step: '7' } });
    expect(result).toMatchObject({ path, tensorBytes: BYTES.length, files: [{ path }] });
    expect(await namesIn(directory)).toEqual(['ema.safetensors']);
    expect(await readAll([path])).toEqual({ names: allNames, bytes: BYTES });
    const reader = await SafetensorsReader.open(path);
    expect([...reader.file.metadata].sort()).toEqual([
      ['format', 'pt'],
      ['step', '7'],
    ]);
    await reader.close();
  });

  test.each(['', '/'])('is model.safetensors in a directory that is there ("directory%s")', async (end) => {
    const directory = await subdirectory(await temporaryDirectory(), 'directory');
    await write(`${directory}${end}`);
    expect(await namesIn(directory)).toEqual(['model.safetensors']);
  });

  test('is model.safetensors in a directory that is made, with those above it', async () => {
    const directory = await temporaryDirectory();
    await write(`${join(directory, 'new', 'model')}/`);
    expect(await namesIn(join(directory, 'new', 'model'))).toEqual(['model.safetensors']);
  });
});

describe('shards', () => {
  test.each([[[1]], [[50]], [[64]], [[1000]]])('hold whole tensors in order, cut at %j', async (sizes) => {
    const directory = await temporaryDirectory();
    const result = await write(directory, { shardBytesMax: 64 }, sizes);
    expect(await namesIn(directory)).toEqual([...SHARDS, INDEX].sort());
    expect(result.path).toBe(join(directory, INDEX));
    expect(result.files.map((file) => file.path)).toEqual(SHARDS.map((name) => join(directory, name)));
    expect(await readAll(result.files.map((file) => file.path))).toEqual({ names: allNames, bytes: BYTES });
    const index = JSON.parse(await readFile(join(directory, INDEX), 'utf8'));
    expect(index.metadata).toEqual({ total_size: BYTES.length });
    expect(Object.entries(index.weight_map)).toEqual([
      ['a', SHARDS[0]],
      ['none', SHARDS[0]],
      ['b', SHARDS[0]],
      ['large', SHARDS[1]],
      ['__proto__', SHARDS[2]],
      ['last', SHARDS[2]],
    ]);
  });

  test('lie beside the named file and share its stem', async () => {
    const directory = await temporaryDirectory();
    await write(join(directory, 'ema.v2.safetensors'), { shardBytesMax: 250 });
    expect(await namesIn(directory)).toEqual([
      'ema.v2-00001-of-00002.safetensors',
      'ema.v2-00002-of-00002.safetensors',
      'ema.v2.safetensors.index.json',
    ]);
  });

  test.each([
    [272, 1],
    [271, 2],
    [64, 3],
    [63, 4],
    [1, 4],
  ])('of at most %i bytes are %i', async (shardBytesMax, count) => {
    const result = await write(await temporaryDirectory(), { shardBytesMax });
    expect(result.files).toHaveLength(count);
  });

  test('wait under other names until all bytes are there', async () => {
    const directory = await temporaryDirectory();
    const files = await createShadowFiles(directory, TENSORS, { shardBytesMax: 64 });
    await files.write(BYTES);
    expect((await namesIn(directory)).every((name) => name.endsWith('.tmp'))).toBe(true);
    await files.finish();
    await files.abort();
    expect(await namesIn(directory)).toEqual([...SHARDS, INDEX].sort());
  });
});

describe('nothing is left when', () => {
  test.each([0, 1, 64, 65, 271])('it is given up after %i bytes', async (count) => {
    const directory = await temporaryDirectory();
    const files = await createShadowFiles(`${join(directory, 'new', 'model')}/`, TENSORS, { shardBytesMax: 64 });
    await files.write(BYTES.subarray(0, count));
    await files.abort();
    expect(await namesIn(directory)).toEqual([]);
  });

  test.each([0, 64, 271, 273])('%i bytes come instead of 272', async (count) => {
    const directory = await temporaryDirectory();
    const files = await createShadowFiles(directory, TENSORS, { shardBytesMax: 64 });
    const promise = files.write(new Uint8Array(count)).then(() => files.finish());
    await storageFailure(promise, 'INVALID_INPUT');
    expect(await namesIn(directory)).toEqual([]);
  });

  test('a shard cannot be written at all', async () => {
    const directory = await temporaryDirectory();
    const tensors = [...TENSORS, { ...TENSORS[0]!, dtype: 'F31' as 'F32' }];
    await storageFailure(createShadowFiles(directory, tensors), 'INVALID_INPUT');
    expect(await namesIn(directory)).toEqual([]);
  });

  test.skipIf(!mounting.isAble)(`the disk fills up in the second shard${mounting.note}`, async () => {
    const disk = mountSmallDisk()!;
    try {
      const tensors: TensorSpec[] = ['a', 'b', 'c'].map((name) => ({ name, dtype: 'U8', shape: [600_000] }));
      const files = await createShadowFiles(disk.path, tensors, { shardBytesMax: 600_000 });
      const error = await storageFailure(files.write(new Uint8Array(1_800_000)), 'NO_SPACE');
      expect(error.path).toBe(join(disk.path, SHARDS[1]!));
      expect(await namesIn(disk.path)).toEqual([]);
    } finally {
      disk.unmount();
    }
  });
});

describe('what is there already', () => {
  test.each([[SHARDS[2]!], [INDEX], ['model.safetensors']])(
    '%s is refused before anything is written',
    async (name) => {
      const directory = await temporaryDirectory();
      await writeFile(join(directory, name), 'old');
      const promise = createShadowFiles(directory, TENSORS, { shardBytesMax: 64 });
      const error = await storageFailure(promise, 'EXISTS');
      expect(error.path).toBe(join(directory, name));
      expect(await namesIn(directory)).toEqual([name]);
    },
  );

  test('an index is refused beside a single file: a loader could follow it', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, INDEX), '{}');
    await storageFailure(createShadowFiles(directory, TENSORS), 'EXISTS');
  });

  test.each([[SHARDS[1]!], [INDEX]])('%s that appears meanwhile stays, and ours go', async (name) => {
    const directory = await temporaryDirectory();
    const files = await createShadowFiles(directory, TENSORS, { shardBytesMax: 64 });
    await files.write(BYTES);
    await writeFile(join(directory, name), 'other');
    await storageFailure(files.finish(), 'EXISTS');
    expect(await namesIn(directory)).toEqual([name]);
    expect(await readFile(join(directory, name), 'utf8')).toBe('other');
  });

  test('is replaced when asked, and no old file speaks for the new ones', async () => {
    const directory = await temporaryDirectory();
    await write(directory);
    await write(directory, { shardBytesMax: 64, overwrite: true });
    expect(await namesIn(directory)).toEqual([...SHARDS, INDEX].sort());
    await write(directory, { shardBytesMax: 64, overwrite: true });
    await write(directory, { overwrite: true });
    expect(await namesIn(directory)).not.toContain(INDEX);
    expect(await readAll([join(directory, 'model.safetensors')])).toEqual({ names: allNames, bytes: BYTES });
  });
});

describe('refused with the reason', () => {
  test('a path that is neither a directory nor a safetensors file', async () => {
    const path = join(await temporaryDirectory(), 'weights');
    const error = await storageFailure(createShadowFiles(path, TENSORS), 'INVALID_INPUT');
    expect(error.message).toContain('is no directory and does not end in .safetensors');
  });

  test('a file in a directory that is not there', async () => {
    const path = join(await temporaryDirectory(), 'none', 'x.safetensors');
    await storageFailure(createShadowFiles(path, TENSORS), 'NOT_FOUND');
  });

  test.each([0, -1, Number.NaN])('shards of %d bytes', async (shardBytesMax) => {
    const promise = createShadowFiles(await temporaryDirectory(), TENSORS, { shardBytesMax });
    expect((await storageFailure(promise, 'INVALID_INPUT')).message).toContain('must be at least 1');
  });
});
