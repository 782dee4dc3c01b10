import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/storage/errors.js';
import { readSafetensorsHeader } from '../../../src/storage/safetensors/reader.js';
import { randomNumbers, storageFailure, subdirectory, temporaryDirectory } from '../fixtures.js';
import { findPython, runPython } from '../python.js';
import { fileOf, HOSTILE_FILES } from './hostile-files.js';

const python = findPython('safetensors');
const note = python ? '' : ' (skipped: no Python with safetensors)';

async function readHeaderOf(bytes: Uint8Array) {
  const path = join(await temporaryDirectory(), 'file.safetensors');
  await writeFile(path, bytes);
  return readSafetensorsHeader(path);
}

describe('a file is refused that has', () => {
  test.each(HOSTILE_FILES)('$title', async ({ bytes, problem }) => {
    const error = await storageFailure(readHeaderOf(bytes), 'INVALID_FILE');
    expect(error.message).toMatch(problem);
    expect(error.message.length).toBeLessThan(1_000);
  });
});

describe('a file is taken that has', () => {
  const tensor = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';
  test.each([
    ['no tensors', fileOf('{}'), []],
    ['padding', fileOf(`{"a":${tensor}}     \n`, 4), ['a']],
    ['whitespace in its JSON', fileOf(`{ "a" :\t${tensor.replaceAll(',', ' ,\r\n')} }`, 4), ['a']],
    ['an escaped name', fileOf(`{"\\u0061\\ud83d\\ude42":${tensor}}`, 4), ['a🙂']],
    ['a name that is a prototype elsewhere', fileOf(`{"__proto__":${tensor}}`, 4), ['__proto__']],
    ['an empty name', fileOf(`{"":${tensor}}`, 4), ['']],
    [
      'its tensors in another order than their bytes',
      fileOf(`{"b":${tensor.replace('0,4', '4,8')},"a":${tensor}}`, 8),
      ['a', 'b'],
    ],
    [
      'empty tensors between others',
      fileOf(`{"a":${tensor},"b":${tensor.replace('[1]', '[0]').replace('0,4', '4,4')}}`, 4),
      ['a', 'b'],
    ],
    [
      'an empty tensor with an extent beyond counting',
      fileOf(`{"a":${tensor.replace('[1]', '[9007199254740991,9007199254740991,0]').replace('0,4', '0,0')}}`),
      ['a'],
    ],
  ])('%s', async (_title, bytes, names) => {
    const { tensors } = await readHeaderOf(bytes);
    expect(tensors.map((found) => found.name)).toEqual(names);
  });

  test('metadata, and no key of it touches a prototype', async () => {
    const { metadata } = await readHeaderOf(fileOf('{"__metadata__":{"__proto__":"x","format":"pt"}}'));
    expect([...metadata]).toEqual([
      ['__proto__', 'x'],
      ['format', 'pt'],
    ]);
    expect(Object.hasOwn(Object.prototype, 'x')).toBe(false);
  });
});

describe('what is no regular file is refused', () => {
  test('a directory, a missing file, a device', async () => {
    const directory = await temporaryDirectory();
    expect((await storageFailure(readSafetensorsHeader(directory), 'INVALID_FILE')).message).toContain('not a regular');
    await storageFailure(readSafetensorsHeader(join(directory, 'none')), 'NOT_FOUND');
    await storageFailure(readSafetensorsHeader('/dev/zero'), 'INVALID_FILE');
  });

  test.skipIf(process.platform === 'win32')('a pipe, without waiting for somebody to write to it', async () => {
    const pipe = join(await temporaryDirectory(), 'pipe');
    execFileSync('mkfifo', [pipe]);
    await storageFailure(readSafetensorsHeader(pipe), 'INVALID_FILE');
  });
});

describe('against the reference implementation', () => {
  test.skipIf(!python)(`what we refuse it refuses, but for the rules we added${note}`, async () => {
    const directory = await temporaryDirectory();
    const paths = HOSTILE_FILES.map((_, index) => join(directory, `${index}.safetensors`));
    for (const [index, path] of paths.entries()) await writeFile(path, HOSTILE_FILES[index]!.bytes);
    const answers = runPython<{ error?: string }>(python!, 'reference.py', paths);
    const accepted = HOSTILE_FILES.filter((_, index) => answers[index]!.error === undefined);
    const expected = HOSTILE_FILES.filter((file) => file.referenceAccepts);
    expect(accepted.map((file) => file.title)).toEqual(expected.map((file) => file.title));
  });

  test.skipIf(!python)(`of 5,000 mutated files (seed 11) we take none that it refuses${note}`, async () => {
    const directory = await subdirectory(await temporaryDirectory(), 'mutants');
    const taken: string[] = [];
    const all: string[] = [];
    for (const [index, bytes] of mutants(5_000, 11).entries()) {
      const path = join(directory, `${index}`);
      await writeFile(path, bytes);
      all.push(path);
      const failure = await readSafetensorsHeader(path).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failure === undefined) taken.push(path);
      else expect(failure).toBeInstanceOf(StorageError);
    }
    const refused = runPython<{ error?: string }>(python!, 'reference.py', taken).filter((answer) => answer.error);
    expect(refused).toEqual([]);
    // Some mutants are still valid files, most are not: the comparison says something.
    expect(taken.length).toBeGreaterThan(50);
    expect(taken.length).toBeLessThan(all.length / 2);
  });
});

/** Valid files with one to three bytes of their JSON changed, doubled or removed; the length field follows. */
function mutants(count: number, seed: number): Uint8Array[] {
  const next = randomNumbers(seed);
  const alphabet = Buffer.from('{}[]":, 0123456789-.eE\\ua\x00\xffFBIU');
  const header = Buffer.from(
    '{"__metadata__":{"k":"v"},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},' +
      '"b":{"dtype":"U8","shape":[12],"data_offsets":[12,24]},"s":{"shape":[],"dtype":"I8","data_offsets":[24,25]}}',
  );
  return Array.from({ length: count }, () => {
    let bytes: Uint8Array = header;
    for (let edit = next() % 3; edit >= 0; edit--) {
      const at = next() % bytes.length;
      const [drop, add] = [next() % 2, next() % 2];
      const inserted = alphabet.subarray(next() % alphabet.length).subarray(0, add);
      bytes = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + drop)]);
    }
    return fileOf(bytes, 25);
  });
}
