import { createHash } from 'node:crypto';
import { copyFile, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseManifest } from '../../../src/storage/checkpoint/manifest.js';
import { openCheckpoint, StorageError } from '../../../src/storage/index.js';
import { gather, namesIn, randomNumbers, storageFailure, temporaryDirectory } from '../fixtures.js';
import { RUN, readSample, runDirectoryOf, writeSample } from './sample.js';

const FILES = ['average.ema.safetensors', 'copied.safetensors', 'nothing.safetensors', 'manifest.json'];

/** Two checkpoints, 1 and 2. */
async function twoCheckpoints() {
  const dataDir = await temporaryDirectory();
  const older = (await writeSample(dataDir, 1)).path;
  const newer = (await writeSample(dataDir, 2)).path;
  return { dataDir, older, newer };
}

/** The newest checkpoint is refused. The older one is whole, and not taken in its place. */
async function expectDamage(dataDir: string) {
  const error = await storageFailure(openCheckpoint(dataDir, RUN), 'DAMAGED');
  const newest = (await namesIn(runDirectoryOf(dataDir))).find((name) => name.endsWith('-2'))!;
  const [place, aside] = [join(runDirectoryOf(dataDir), newest), join(dataDir, 'aside')];
  await rename(place, aside);
  expect(await readSample(dataDir)).toBe(1);
  await rename(aside, place);
  return error;
}

describe('every flipped bit is found', () => {
  test('of the manifest, one by one', async () => {
    const { newer } = await twoCheckpoints();
    const path = join(newer, 'manifest.json');
    const whole = await readFile(path);
    expect(parseManifest(whole, path).step).toBe(2);
    const bits = Array.from({ length: whole.length * 8 }, (_, bit) => bit);
    expect(bits.filter((bit) => !isDamaged(flipped(whole, bit), path))).toEqual([]);
  });

  test('of all files, 2,000 at random (seed 5)', async () => {
    const { dataDir, newer } = await twoCheckpoints();
    const next = randomNumbers(5);
    for (let trial = 0; trial < 2_000; trial++) {
      const path = join(newer, FILES[next() % FILES.length]!);
      const whole = await readFile(path);
      await writeFile(path, flipped(whole, next() % (whole.length * 8)));
      const error = await storageFailure(openCheckpoint(dataDir, RUN), 'DAMAGED');
      expect(error.path).toBe(path);
      if (path.endsWith('.safetensors')) {
        expect(error.message).toMatch(/is damaged: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}$/);
      }
      await writeFile(path, whole);
    }
    expect(await readSample(dataDir)).toBe(2);
  }, 120_000);
});

function isDamaged(manifest: Uint8Array, path: string): boolean {
  try {
    parseManifest(manifest, path);
    return false;
  } catch (error) {
    return error instanceof StorageError && error.code === 'DAMAGED';
  }
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[bit >>> 3]! ^= 1 << (bit & 7);
  return copy;
}

describe('a checkpoint is refused, and only on request an older one is taken, when', () => {
  test.each(FILES)('%s is missing', async (name) => {
    const { dataDir, newer } = await twoCheckpoints();
    await rm(join(newer, name));
    expect((await expectDamage(dataDir)).message).toContain(name);
  });

  test.each(FILES)('%s is cut short', async (name) => {
    for (const keptBytes of [0, 1, -1]) {
      const { dataDir, newer } = await twoCheckpoints();
      const path = join(newer, name);
      await truncate(path, keptBytes < 0 ? (await readFile(path)).length + keptBytes : keptBytes);
      expect((await expectDamage(dataDir)).path).toBe(path);
    }
  });

  test.each(FILES)('%s has a byte more', async (name) => {
    const { dataDir, newer } = await twoCheckpoints();
    await writeFile(join(newer, name), Buffer.concat([await readFile(join(newer, name)), Buffer.from(' ')]));
    await expectDamage(dataDir);
  });

  test.each(FILES)('%s is the one of another checkpoint', async (name) => {
    if (name === 'nothing.safetensors') return; // The same in both.
    const { dataDir, older, newer } = await twoCheckpoints();
    await copyFile(join(older, name), join(newer, name));
    await expectDamage(dataDir);
  });

  test('two files changed places', async () => {
    const { dataDir, newer } = await twoCheckpoints();
    const [a, b] = [join(newer, FILES[0]!), join(newer, FILES[1]!)];
    await rename(a, `${a}.old`);
    await rename(b, a);
    await rename(`${a}.old`, b);
    await expectDamage(dataDir);
  });

  test('it is a directory without anything', async () => {
    const { dataDir, newer } = await twoCheckpoints();
    for (const name of await namesIn(newer)) await rm(join(newer, name));
    await expectDamage(dataDir);
  });

  test('it belongs to another run', async () => {
    const { dataDir } = await twoCheckpoints();
    await rename(runDirectoryOf(dataDir), join(dataDir, 'other'));
    const error = await storageFailure(openCheckpoint(dataDir, 'other'), 'DAMAGED');
    expect(error.message).toContain(`its manifest belongs to run ${RUN}, step 2, sequence 2`);
  });

  test('its directory claims another step or place', async () => {
    const { dataDir, newer } = await twoCheckpoints();
    await rename(newer, newer.replace(/2-2$/, '3-2'));
    expect((await expectDamage(dataDir)).message).toContain('its manifest belongs to');
  });

  test('its manifest is whole but names a file elsewhere', async () => {
    const { dataDir, older, newer } = await twoCheckpoints();
    const elsewhere = join('..', older.slice(older.lastIndexOf('/') + 1), 'copied.safetensors');
    await forge(newer, (text) => text.replace('"name":"copied.safetensors"', `"name":${JSON.stringify(elsewhere)}`));
    expect((await expectDamage(dataDir)).message).toContain('names a file elsewhere');
  });

  test('its manifest is whole but has other tensors than the file', async () => {
    const { dataDir, newer } = await twoCheckpoints();
    await forge(newer, (text) => text.replace('"name":"w","shape":[4,3]', '"name":"w","shape":[3,4]'));
    expect((await expectDamage(dataDir)).message).toContain('its tensors are not those of the manifest');
  });

  test.each([
    ['"run":"run-1"', '"run":1'],
    ['"sequence":2', '"sequence":-2'],
    ['"step":2,', ''],
    ['"dtype":"F32"', '"dtype":"F31"'],
    ['"format":"shadowkeep-checkpoint"', '"format":"x"'],
  ])('its manifest is whole but has %s as %s', async (from, to) => {
    const { dataDir, newer } = await twoCheckpoints();
    await forge(newer, (text) => text.replace(from, to));
    await expectDamage(dataDir);
  });
});

test('a tensor whose checksum is wrong is found while its bytes are read', async () => {
  const { dataDir, newer } = await twoCheckpoints();
  await forge(newer, (text) => text.replace(/"crc32c":[1-9]\d*/, '"crc32c":1'));
  await expect(readSample(dataDir)).rejects.toThrow(/damaged: tensor w has crc32c \d+, expected 1$/);
});

test('bytes that change after the check are found while they are read', async () => {
  const { dataDir, newer } = await twoCheckpoints();
  const checkpoint = await openCheckpoint(dataDir, RUN);
  const path = join(newer, FILES[0]!);
  const whole = await readFile(path);
  await writeFile(path, flipped(whole, whole.length * 8 - 1));
  await expect(gather(checkpoint!.parts[0]!.read())).rejects.toThrow(/tensor __proto__ has crc32c/);
  await checkpoint!.close();
});

test('a newer format is refused as such', async () => {
  const { dataDir, newer } = await twoCheckpoints();
  await forge(newer, (text) => text.replace('"version":1', '"version":2'));
  const error = await storageFailure(openCheckpoint(dataDir, RUN), 'TOO_NEW');
  expect(error.message).toMatch(/has the format version 2, this program reads version 1$/);
});

/** Changes a manifest and gives it the digest of what it says now. */
async function forge(checkpoint: string, change: (text: string) => string): Promise<void> {
  const path = join(checkpoint, 'manifest.json');
  const changed = change((await readFile(path, 'utf8')).trimEnd());
  const rest = changed.replace(/"sha256":"[0-9a-f]{64}",("state")/, '$1');
  const sha256 = createHash('sha256').update(rest).digest('hex');
  await writeFile(path, `${rest.replace('"state"', `"sha256":"${sha256}","state"`)}\n`);
}
