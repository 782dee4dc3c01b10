import { createHash } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { TensorSpec } from '../../../src/storage/safetensors/format.js';
import { SafetensorsReader } from '../../../src/storage/safetensors/reader.js';
import { gather, storageFailure, temporaryDirectory } from '../fixtures.js';
import { findPython, runPython } from '../python.js';
import { fileOf } from './hostile-files.js';

const python = findPython('numpy', 'safetensors');
const note = python ? '' : ' (skipped: no Python with numpy and safetensors)';

test.skipIf(!python)(`reads what the reference implementation wrote${note}`, async () => {
  const path = join(await temporaryDirectory(), 'model.safetensors');
  const [expected] = runPython<(TensorSpec & { sha256: string })[]>(python!, 'reference_writer.py', [path]);
  const reader = await SafetensorsReader.open(path);
  expect([...reader.file.metadata]).toEqual([['made by', 'reference']]);
  expect(reader.file.tensors).toHaveLength(expected!.length);
  for (const { name, dtype, shape, sha256 } of expected!) {
    const tensor = reader.file.tensors.find((found) => found.name === name);
    expect(tensor).toMatchObject({ dtype, shape });
    const bytes = await gather(reader.readTensor(tensor!));
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
  }
  await reader.close();
});

test('a file that shrinks while it is read is an error, not zeros', async () => {
  const path = join(await temporaryDirectory(), 'model.safetensors');
  await writeFile(path, fileOf('{"a":{"dtype":"U8","shape":[3000000],"data_offsets":[0,3000000]}}', 3_000_000));
  const reader = await SafetensorsReader.open(path);
  const pieces = reader.readData();
  expect((await pieces.next()).value).toHaveLength(1 << 20);
  await truncate(path, 2_000_000);
  await storageFailure(gather(pieces), 'INVALID_FILE');
  await reader.close();
});
