import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { writeFileAtomic } from '../../../src/storage/atomic-file.js';
import { deleteRunFiles, listRuns } from '../../../src/storage/index.js';
import { RUN, readSample, writeSample } from './sample.js';

/*
 * A file system in a file, mounted. A copy of that file holds what has reached the disk and nothing else: mounting the
 * copy is what a machine finds after a power cut.
 */

/** ext4 with its journal, and room for three checkpoints. */
const IMAGE_BYTES = 32 << 20;
const EXTRA_BYTES = 1_500_000;

interface Disk {
  image: string;
  path: string;
}

function command(name: string, ...parameters: string[]): void {
  execFileSync(name, parameters, { stdio: 'ignore' });
}

function mount(image: string, path: string): void {
  // A long commit interval: the journal's timer must not sync for us.
  command('mount', '-o', 'loop,commit=300', image, path);
}

async function makeDisk(): Promise<Disk> {
  const directory = mkdtempSync(join(tmpdir(), 'shadowkeep-power-'));
  const disk = { image: join(directory, 'image'), path: join(directory, 'disk') };
  await writeFile(disk.image, '');
  await truncate(disk.image, IMAGE_BYTES);
  await mkdir(disk.path);
  command('mkfs.ext4', '-q', '-F', disk.image);
  mount(disk.image, disk.path);
  return disk;
}

function removeDisk(disk: Disk): void {
  command('umount', disk.path);
  rmSync(join(disk.image, '..'), { recursive: true });
}

/** What `look` finds on the disk after its power was cut now. */
async function afterPowerCut<T>({ image }: Disk, look: (path: string) => Promise<T>): Promise<T> {
  const copy = { image: `${image}-copy`, path: mkdtempSync(join(image, '..', 'copy-')) };
  copyFileSync(image, copy.image);
  mount(copy.image, copy.path);
  try {
    return await look(copy.path);
  } finally {
    command('umount', copy.path);
  }
}

async function canMountImages(): Promise<boolean> {
  try {
    removeDisk(await makeDisk());
    return true;
  } catch {
    return false;
  }
}

const isAble = await canMountImages();
const note = isAble ? '' : ' (skipped: mounting an image needs root, mkfs.ext4 and a loop device)';

test.skipIf(!isAble)(
  `a written file survives a power cut, under its name and whole${note}`,
  async () => {
    const disk = await makeDisk();
    onTestFinished(() => removeDisk(disk));
    for (const content of ['old', 'new']) {
      const bytes = Buffer.from(content.repeat(50_000));
      await writeFileAtomic(join(disk.path, 'file'), bytes, { overwrite: content === 'new' });
      await afterPowerCut(disk, async (path) => {
        expect((await readFile(join(path, 'file'))).equals(bytes)).toBe(true);
      });
    }
  },
  60_000,
);

test.skipIf(!isAble)(
  `a written checkpoint survives a power cut, a deletion too${note}`,
  async () => {
    const disk = await makeDisk();
    onTestFinished(() => removeDisk(disk));
    for (let step = 1; step <= 4; step++) {
      await writeSample(join(disk.path, 'data'), step, EXTRA_BYTES);
      // The control: what is not synced does not survive, so the test would see a sync that is missing.
      await writeFile(join(disk.path, `control-${step}`), 'x'.repeat(10_000));
      await afterPowerCut(disk, async (path) => {
        expect(await readSample(join(path, 'data'), EXTRA_BYTES)).toBe(step);
        const control = await readFile(join(path, `control-${step}`), 'utf8').catch(() => '');
        expect(control).toBe('');
        await writeSample(join(path, 'data'), step + 10, EXTRA_BYTES);
        expect(await readSample(join(path, 'data'), EXTRA_BYTES)).toBe(step + 10);
      });
    }
    await deleteRunFiles(join(disk.path, 'data'), RUN);
    await afterPowerCut(disk, async (path) => expect(await listRuns(join(path, 'data'))).toEqual([]));
  },
  60_000,
);
