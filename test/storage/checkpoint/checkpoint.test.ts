import { createHash } from 'node:crypto';
import { mkdir, readFile, realpath, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ShadowkeepError } from '../../../src/common/index.js';
import {
  type CheckpointContent,
  deleteRunFiles,
  listRuns,
  openCheckpoint,
  readSafetensorsHeader,
  writeCheckpoint,
} from '../../../src/storage/index.js';
import { namesIn, storageFailure, subdirectory, temporaryDirectory } from '../fixtures.js';
import { canMount, mountSmallDisk } from '../small-disk.js';
import { RUN, readSample, runDirectoryOf, sampleContent, writeSample } from './sample.js';

const mounting = canMount();

describe('a checkpoint', () => {
  test('comes back as it was written: state, parts, every byte', async () => {
    const dataDir = await temporaryDirectory();
    const written = await writeSample(dataDir, 123);
    expect(written.path).toBe(join(await realpath(dataDir), RUN, 'step-000000000123-1'));
    expect(await readSample(dataDir)).toBe(123);
    const checkpoint = await openCheckpoint(dataDir, RUN);
    expect(checkpoint).toMatchObject({ step: 123, path: written.path });
    // toEqual takes −0 for 0; the state must not.
    expect(Object.is((checkpoint!.state as { zero: number }).zero, -0)).toBe(true);
    await checkpoint!.close();
  });

  test('is laid out as documented, for its owner only', async () => {
    const dataDir = join(await temporaryDirectory(), 'made', 'data');
    const { path, bytes } = await writeSample(dataDir, 5);
    expect(await namesIn(path)).toEqual([
      'average.ema.safetensors',
      'copied.safetensors',
      'manifest.json',
      'nothing.safetensors',
    ]);
    for (const directory of [dataDir, runDirectoryOf(dataDir), path]) {
      expect((await stat(directory)).mode & 0o777).toBe(0o700);
    }
    let sum = 0;
    for (const name of await namesIn(path)) {
      const file = await stat(join(path, name));
      expect(file.mode & 0o777).toBe(0o600);
      sum += file.size;
    }
    expect(bytes).toBe(sum);
    const header = await readSafetensorsHeader(join(path, 'average.ema.safetensors'));
    expect(header.tensors.map((tensor) => tensor.name)).toEqual(['w', 'empty', '__proto__']);
  });

  test('has a manifest whose digests others can check', async () => {
    const { path } = await writeSample(await temporaryDirectory(), 5);
    const text = await readFile(join(path, 'manifest.json'), 'utf8');
    const manifest = JSON.parse(text);
    expect(manifest).toMatchObject({ format: 'shadowkeep-checkpoint', version: 1, run: RUN, step: 5, sequence: 1 });
    const withoutDigest = text.trimEnd().replace(`"sha256":"${manifest.sha256}",`, '');
    expect(createHash('sha256').update(withoutDigest).digest('hex')).toBe(manifest.sha256);
    for (const file of manifest.files) {
      const content = await readFile(join(path, file.name));
      expect(file.bytes).toBe(content.length);
      expect(file.sha256).toBe(createHash('sha256').update(content).digest('hex'));
    }
  });

  test('may have no step yet', async () => {
    const dataDir = await temporaryDirectory();
    const content: CheckpointContent = { step: undefined, state: null, parts: [] };
    const { path } = await writeCheckpoint(dataDir, RUN, content);
    expect(path).toMatch(/step-none-1$/);
    const checkpoint = await openCheckpoint(dataDir, RUN);
    expect(checkpoint).toMatchObject({ step: undefined, state: null, parts: [] });
    await checkpoint!.close();
  });

  test('of a large step keeps all its digits', async () => {
    const dataDir = await temporaryDirectory();
    const content = { ...sampleContent(1), step: Number.MAX_SAFE_INTEGER };
    await writeCheckpoint(dataDir, RUN, content);
    const checkpoint = await openCheckpoint(dataDir, RUN);
    expect(checkpoint?.step).toBe(Number.MAX_SAFE_INTEGER);
    await checkpoint!.close();
  });

  test('of a run that was never written is undefined', async () => {
    const dataDir = await temporaryDirectory();
    expect(await openCheckpoint(dataDir, RUN)).toBeUndefined();
    expect(await openCheckpoint(join(dataDir, 'none'), RUN)).toBeUndefined();
  });
});

describe('of several checkpoints', () => {
  test('the newest is the last one written, even when its step is lower', async () => {
    const dataDir = await temporaryDirectory();
    for (const step of [10, 20, 15]) await writeSample(dataDir, step);
    expect(await readSample(dataDir)).toBe(15);
  });

  test('the two newest are kept', async () => {
    const dataDir = await temporaryDirectory();
    for (let step = 1; step <= 11; step++) await writeSample(dataDir, step);
    expect(await namesIn(runDirectoryOf(dataDir))).toEqual(['step-000000000010-10', 'step-000000000011-11']);
  });
});

describe('what a crash left', () => {
  test('is not read, and goes with the next checkpoint', async () => {
    const dataDir = await temporaryDirectory();
    const { path } = await writeSample(dataDir, 1);
    await rename(path, join(runDirectoryOf(dataDir), 'tmp-0123456789ab-7'));
    expect(await openCheckpoint(dataDir, RUN)).toBeUndefined();
    expect(await listRuns(dataDir)).toEqual([]);
    await writeSample(dataDir, 2);
    expect(await namesIn(runDirectoryOf(dataDir))).toEqual(['step-000000000002-1']);
  });
});

describe('nothing changes when', () => {
  const cases: [string, Partial<CheckpointContent>, RegExp][] = [
    [
      'a part ends early',
      { parts: [{ ...sampleContent(1).parts[0]!, bytes: [new Uint8Array(3)] }] },
      /56 bytes, 3 came/,
    ],
    ['a part brings too much', { parts: [{ name: 'a', tensors: [], bytes: [new Uint8Array(1)] }] }, /at least 1 came/],
    ['a part fails', { parts: [{ name: 'a', tensors: [], bytes: failing() }] }, /the source failed/],
    ['a part is named like a path', { parts: [{ name: '../a', tensors: [], bytes: [] }] }, /part "\.\.\/a" must match/],
    ['two parts have one name', { parts: ['a', 'A'].map((name) => ({ name, tensors: [], bytes: [] })) }, /named once/],
    ['the state has no JSON form', { state: { decay: Number.NaN } }, /NaN has no JSON form/],
    ['the state has a bigint', { state: { decay: 1n } }, /bigint 1 has no JSON form/],
    ['the state has a class', { state: new Map() }, /Map has no JSON form/],
    ['the step is no whole number', { step: 1.5 }, /a step is a whole number/],
  ];
  test.each(cases)('%s', async (_title, wrong, problem) => {
    const dataDir = await temporaryDirectory();
    await writeSample(dataDir, 1);
    await expect(writeCheckpoint(dataDir, RUN, { ...sampleContent(2), ...wrong })).rejects.toThrow(problem);
    expect(await namesIn(runDirectoryOf(dataDir))).toEqual(['step-000000000001-1']);
    expect(await readSample(dataDir)).toBe(1);
  });

  test.skipIf(!mounting.isAble)(`the disk is full${mounting.note}`, async () => {
    const disk = mountSmallDisk()!;
    try {
      await writeSample(disk.path, 1);
      for (const extraBytes of [900_000, 1_048_576, 3_000_000]) {
        await writeFile(join(disk.path, 'ballast'), new Uint8Array(500_000));
        const error = await storageFailure(writeSample(disk.path, 2, extraBytes), 'NO_SPACE');
        expect(error.message).toMatch(/no space left for .*average\.ema\.safetensors: it needs \d+ bytes/);
        expect(await namesIn(runDirectoryOf(disk.path))).toEqual(['step-000000000001-1']);
        expect(await readSample(disk.path)).toBe(1);
      }
      await writeSample(disk.path, 3);
      expect(await readSample(disk.path)).toBe(3);
    } finally {
      disk.unmount();
    }
  });
});

async function* failing(): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(0);
  throw new Error('the source failed');
}

describe('runs', () => {
  test('are listed by name, without what is not one', async () => {
    const dataDir = await temporaryDirectory();
    expect(await listRuns(join(dataDir, 'none'))).toEqual([]);
    for (const run of ['b', 'a', 'c.1']) await writeCheckpoint(dataDir, run, sampleContent(1));
    await mkdir(join(dataDir, 'empty'));
    await mkdir(join(dataDir, '.hidden'));
    await mkdir(join(dataDir, 'lost+found'));
    await writeFile(join(dataDir, 'file'), '');
    expect(await listRuns(dataDir)).toEqual(['a', 'b', 'c.1']);
  });

  test('are deleted one by one, and again without complaint', async () => {
    const dataDir = await temporaryDirectory();
    for (const run of ['a', 'b']) await writeCheckpoint(dataDir, run, sampleContent(1));
    await deleteRunFiles(dataDir, 'a');
    await deleteRunFiles(dataDir, 'a');
    expect(await namesIn(dataDir)).toEqual(['b']);
    await writeCheckpoint(dataDir, 'a', sampleContent(2));
    await deleteRunFiles(dataDir, 'a');
    expect(await listRuns(dataDir)).toEqual(['b']);
  });

  test('that a crash left half deleted are gone, and their files go with the next one', async () => {
    const dataDir = await temporaryDirectory();
    await writeSample(dataDir, 1);
    await rename(runDirectoryOf(dataDir), join(dataDir, '.deleted-0123456789ab-1'));
    expect(await listRuns(dataDir)).toEqual([]);
    await deleteRunFiles(dataDir, 'other');
    expect(await namesIn(dataDir)).toEqual([]);
  });
});

describe('nothing outside the data directory is touched', () => {
  const HOSTILE_NAMES = [
    ...['', '.', '..', '...', '../x', 'a/../b', 'a/b', '/etc', '\\\\host\\share', 'a\\b', 'a\0b', '%2e%2e', '%2f', '~'],
    ...['.hidden', '-x', '_x', 'a b', 'a\nb', 'a..b', 'ä', 'e\u0301', 'a\u202eb', 'a\ufeff', '\ud800', 'x'.repeat(300)],
  ];
  test.each(HOSTILE_NAMES)('by the run %j', async (run) => {
    const dataDir = await subdirectory(await temporaryDirectory(), 'data');
    await expect(writeCheckpoint(dataDir, run, sampleContent(1))).rejects.toThrow(ShadowkeepError);
    await expect(openCheckpoint(dataDir, run)).rejects.toThrow(ShadowkeepError);
    await expect(deleteRunFiles(dataDir, run)).rejects.toThrow(ShadowkeepError);
    expect(await namesIn(join(dataDir, '..'))).toEqual(['data']);
    expect(await namesIn(dataDir)).toEqual([]);
  });

  test('by a run that is a link', async () => {
    const directory = await temporaryDirectory();
    const [dataDir, elsewhere] = [await subdirectory(directory, 'data'), await subdirectory(directory, 'elsewhere')];
    await writeSample(elsewhere, 1);
    await symlink(join(elsewhere, RUN), join(dataDir, RUN));
    expect(await listRuns(dataDir)).toEqual([RUN]);
    await storageFailure(openCheckpoint(dataDir, RUN), 'UNSAFE_PATH');
    await storageFailure(writeSample(dataDir, 2), 'UNSAFE_PATH');
    await storageFailure(deleteRunFiles(dataDir, RUN), 'UNSAFE_PATH');
    expect(await readSample(elsewhere)).toBe(1);
  });

  test('by a checkpoint, or a file of one, that is a link', async () => {
    const directory = await temporaryDirectory();
    const [dataDir, elsewhere] = [await subdirectory(directory, 'data'), await subdirectory(directory, 'elsewhere')];
    const { path } = await writeSample(dataDir, 1);
    for (const moved of [join(path, 'copied.safetensors'), join(path, 'manifest.json'), path]) {
      const aim = join(elsewhere, 'moved');
      await rename(moved, aim);
      await symlink(aim, moved);
      await storageFailure(openCheckpoint(dataDir, RUN), 'UNSAFE_PATH');
      await rename(aim, moved).catch(() => rename(moved, `${moved}-link`).then(() => rename(aim, moved)));
    }
  });

  test('but the data directory itself may be a link', async () => {
    const directory = await temporaryDirectory();
    await symlink(await subdirectory(directory, 'real'), join(directory, 'data'));
    await writeSample(join(directory, 'data'), 1);
    expect(await readSample(join(directory, 'real'))).toBe(1);
  });
});
