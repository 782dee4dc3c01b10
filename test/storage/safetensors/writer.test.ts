import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { TensorSpec } from '../../../src/storage/safetensors/format.js';
import { SafetensorsReader } from '../../../src/storage/safetensors/reader.js';
import { SafetensorsWriter } from '../../../src/storage/safetensors/writer.js';
import {
  byteLength,
  cut,
  EVERY_TENSOR,
  everyTensorBytes,
  gather,
  namesIn,
  randomBytes,
  storageFailure,
  temporaryDirectory,
} from '../fixtures.js';
import { findPython, runPython } from '../python.js';
import { canMount, mountSmallDisk } from '../small-disk.js';

const python = findPython('safetensors');
const mounting = canMount();

async function write(path: string, tensors: TensorSpec[], bytes: Uint8Array, sizes = [1000]) {
  const writer = await SafetensorsWriter.create(path, tensors);
  for (const piece of cut(bytes, sizes)) await writer.write(piece);
  return writer.finish();
}

describe('what is written is read back', () => {
  test.each([[[1]], [[7, 0, 64]], [[1 << 20]]])('every dtype, scalars, empty ones; cut at %j', async (sizes) => {
    const path = join(await temporaryDirectory(), 'model.safetensors');
    const bytes = everyTensorBytes();
    const digest = await write(path, EVERY_TENSOR, bytes, sizes);
    const file = await readFile(path);
    expect(digest).toEqual({ bytes: file.length, sha256: createHash('sha256').update(file).digest('hex') });

    const reader = await SafetensorsReader.open(path);
    const { tensors, metadata, dataBegin, fileBytes } = reader.file;
    expect(tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(EVERY_TENSOR);
    expect([...metadata]).toEqual([['format', 'pt']]);
    expect(fileBytes - dataBegin).toBe(bytes.length);
    expect(await gather(reader.readData())).toEqual(bytes);
    for (const tensor of tensors) {
      expect(await gather(reader.readTensor(tensor))).toEqual(bytes.slice(tensor.beginBytes, tensor.endBytes));
    }
    await reader.close();
  });

  test('a model without tensors', async () => {
    const path = join(await temporaryDirectory(), 'model.safetensors');
    await write(path, [], new Uint8Array(0));
    const reader = await SafetensorsReader.open(path);
    expect(reader.file.tensors).toEqual([]);
    expect(await gather(reader.readData())).toHaveLength(0);
    await reader.close();
  });

  test('large tensors, in pieces of at most 1 MiB', async () => {
    const path = join(await temporaryDirectory(), 'model.safetensors');
    const tensors: TensorSpec[] = [
      { name: 'a', dtype: 'F32', shape: [700_001] },
      { name: 'b', dtype: 'U8', shape: [3] },
    ];
    const bytes = randomBytes(byteLength(tensors), 3);
    await write(path, tensors, bytes, [1_500_000]);
    const reader = await SafetensorsReader.open(path);
    const sizes: number[] = [];
    const pieces: Uint8Array[] = [];
    for await (const piece of reader.readTensor(reader.file.tensors[0]!)) {
      sizes.push(piece.length);
      pieces.push(piece);
    }
    await reader.close();
    expect(sizes).toEqual([1 << 20, 1 << 20, 2_800_004 - (2 << 20)]);
    // Each piece is its own: none changed while the next ones were read.
    expect(Buffer.concat(pieces).equals(bytes.subarray(0, 2_800_004))).toBe(true);
  });

  test('the data starts on a multiple of 8 for names of any length', async () => {
    const directory = await temporaryDirectory();
    for (let length = 1; length <= 9; length++) {
      const path = join(directory, `${length}.safetensors`);
      await write(path, [{ name: 'n'.repeat(length), dtype: 'F64', shape: [1] }], new Uint8Array(8));
      const reader = await SafetensorsReader.open(path);
      expect(reader.file.dataBegin % 8).toBe(0);
      await reader.close();
    }
  });

  test.skipIf(!python)(
    `by the reference implementation${python ? '' : ' (skipped: no Python with safetensors)'}`,
    async () => {
      const path = join(await temporaryDirectory(), 'model.safetensors');
      const bytes = everyTensorBytes();
      await write(path, EVERY_TENSOR, bytes);
      const expected = EVERY_TENSOR.map((tensor, index) => {
        const [begin, end] = [index, index + 1].map((count) => byteLength(EVERY_TENSOR.slice(0, count)));
        const part = bytes.subarray(begin, end);
        return { ...tensor, sha256: createHash('sha256').update(part).digest('hex') };
      });
      const [answer] = runPython<{ tensors: typeof expected }>(python!, 'reference.py', [path]);
      const byName = (a: TensorSpec, b: TensorSpec) => (a.name < b.name ? -1 : 1);
      expect(answer!.tensors.sort(byName)).toEqual(expected.sort(byName));
    },
  );
});

describe('nothing is left when', () => {
  test('too few bytes come', async () => {
    const directory = await temporaryDirectory();
    const promise = write(join(directory, 'x'), [{ name: 'a', dtype: 'F32', shape: [3] }], new Uint8Array(11));
    expect((await storageFailure(promise, 'INVALID_INPUT')).message).toMatch(/have 12 bytes, 11 came$/);
    expect(await namesIn(directory)).toEqual([]);
  });

  test('too many bytes come', async () => {
    const directory = await temporaryDirectory();
    const promise = write(join(directory, 'x'), [{ name: 'a', dtype: 'F32', shape: [3] }], new Uint8Array(13), [12, 1]);
    expect((await storageFailure(promise, 'INVALID_INPUT')).message).toMatch(/have 12 bytes, at least 13 came$/);
    expect(await namesIn(directory)).toEqual([]);
  });

  test('it is given up', async () => {
    const directory = await temporaryDirectory();
    const writer = await SafetensorsWriter.create(join(directory, 'x'), EVERY_TENSOR);
    await writer.write(new Uint8Array(10));
    await writer.abort();
    expect(await namesIn(directory)).toEqual([]);
  });

  test.skipIf(!mounting.isAble)(`the disk is full${mounting.note}`, async () => {
    const disk = mountSmallDisk()!;
    try {
      const path = join(disk.path, 'model.safetensors');
      const tensors: TensorSpec[] = [{ name: 'a', dtype: 'U8', shape: [2 << 20] }];
      const error = await storageFailure(write(path, tensors, new Uint8Array(2 << 20), [65_536]), 'NO_SPACE');
      const neededBytes = Number(
        /it needs (\d+) bytes, \d+ were written when 0 bytes were free$/.exec(error.message)?.[1],
      );
      expect(error.message).toContain(`no space left for ${path}: `);
      // The tensor, the length field and some header.
      expect(neededBytes).toBeGreaterThan((2 << 20) + 8);
      expect(neededBytes).toBeLessThan((2 << 20) + 200);
      expect(await namesIn(disk.path)).toEqual([]);
    } finally {
      disk.unmount();
    }
  });
});

describe('a writer is not made for', () => {
  const tensor: TensorSpec = { name: 'a', dtype: 'F32', shape: [1] };
  test.each<[string, TensorSpec[], RegExp]>([
    ['a name twice', [tensor, tensor], /name "a" is taken/],
    ['the name of the metadata', [{ ...tensor, name: '__metadata__' }], /"__metadata__" is taken/],
    ['a name without UTF-8', [{ ...tensor, name: 'a\ud800' }], /is not Unicode/],
    ['a negative extent', [{ ...tensor, shape: [-1] }], /impossible shape \[-1\]/],
    ['a fraction', [{ ...tensor, shape: [1.5] }], /impossible shape \[1.5\]/],
    ['too many elements', [{ ...tensor, shape: [2 ** 40, 2 ** 40] }], /impossible shape/],
    ['a rank of 65', [{ ...tensor, shape: Array(65).fill(1) }], /impossible shape/],
    ['an unknown dtype', [{ ...tensor, dtype: 'F31' as 'F32' }], /unknown dtype "F31"/],
    ['too many bytes in all', ['b', 'c'].map((name) => ({ name, dtype: 'F64', shape: [2 ** 50] })), /2\^53 bytes/],
    [
      'too many tensors',
      Array.from({ length: 100_001 }, (_, i) => ({ ...tensor, name: String(i) })),
      /at most 100000 are allowed/,
    ],
    [
      'too long a header',
      Array.from({ length: 40 }, (_, i) => ({ ...tensor, name: `${i}${'n'.repeat(1 << 19)}` })),
      /at most 16777216 are allowed/,
    ],
  ])('%s', async (_title, tensors, problem) => {
    const directory = await temporaryDirectory();
    const promise = SafetensorsWriter.create(join(directory, 'x'), tensors);
    expect((await storageFailure(promise, 'INVALID_INPUT')).message).toMatch(problem);
    expect(await namesIn(directory)).toEqual([]);
  });

  test('a file that is there', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'x'), 'old');
    await storageFailure(SafetensorsWriter.create(join(directory, 'x'), [tensor]), 'EXISTS');
    const writer = await SafetensorsWriter.create(join(directory, 'x'), [tensor], { overwrite: true });
    expect(await readFile(join(directory, 'x'), 'utf8')).toBe('old');
    await writer.write(new Uint8Array(4));
    await writer.finish();
    expect(await namesIn(directory)).toEqual(['x']);
  });
});
