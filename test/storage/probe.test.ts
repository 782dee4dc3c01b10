import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { probeDataDir } from '../../src/storage/probe.js';
import { canSetImmutable, setImmutable, setReadOnly } from './refusing-disk.js';
import { canMount, mountSmallDisk, SMALL_DISK_BYTES } from './small-disk.js';

const immutable = canSetImmutable();
const mounting = canMount();

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'shadowkeep-probe-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

const REFUSED =
  /^the data directory \S+ cannot keep runs: .*; make it writable and give it room, or choose another one/;

describe('a data directory is tried before it is used', () => {
  test('one that can keep runs is as it was, and what there is to know of it is told', async () => {
    const path = await directory();
    expect(await probeDataDir(path)).toMatchObject({ isWritableByAll: false, freeBytes: expect.any(Number) });
    for (const [mode, isWritableByAll] of [
      [0o777, true],
      [0o1777, true],
      [0o770, false],
      [0o702, true],
    ] as const) {
      await chmod(path, mode);
      expect(await probeDataDir(path), mode.toString(8)).toMatchObject({ isWritableByAll });
    }
    expect(await readdir(path)).toEqual([]);
  });

  test('one that is no directory, or is gone', async () => {
    const path = join(await directory(), 'missing');
    await expect(probeDataDir(path)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringMatching(REFUSED),
    });
    await writeFile(path, '');
    await expect(probeDataDir(path)).rejects.toThrow(REFUSED);
  });

  test.skipIf(!immutable.isAble)(`one that takes no file${immutable.note}`, async () => {
    const path = await directory();
    setImmutable(path, true);
    try {
      await expect(probeDataDir(path)).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(/EPERM/) });
    } finally {
      setImmutable(path, false);
    }
  });

  test.skipIf(!mounting.isAble)(`one that is full, or on a read-only disk${mounting.note}`, async () => {
    const disk = mountSmallDisk()!;
    onTestFinished(() => disk.unmount());
    const path = join(disk.path, 'data');
    await mkdir(path);
    expect((await probeDataDir(path)).freeBytes).toBeLessThanOrEqual(SMALL_DISK_BYTES);
    await writeFile(join(disk.path, 'filler'), Buffer.alloc(SMALL_DISK_BYTES)).catch(() => undefined);
    await expect(probeDataDir(path)).rejects.toMatchObject({
      code: 'NO_SPACE',
      message: expect.stringMatching(/^the data directory \S+ cannot keep runs: no space left .*\(--data-dir none\)$/),
    });
    expect(await readdir(path), 'nothing is left of the probe').toEqual([]);
    await rm(join(disk.path, 'filler'));
    setReadOnly(disk.path, true);
    await expect(probeDataDir(path)).rejects.toThrow(/EROFS/);
    setReadOnly(disk.path, false);
  });
});
