import { randomBytes } from 'node:crypto';
import { rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from './atomic-file.js';
import { PRIVATE_FILE_MODE, syncDirectory } from './directory.js';
import { StorageError, storageError } from './errors.js';

/** One block of every file system seen: an empty file would fit on a full disk. */
const PROBE_BYTES = 4_096;

/** Whether everybody on this machine may put files into the directory, or take some away. */
const WRITABLE_BY_ALL = 0o002;

export interface DataDirState {
  readonly freeBytes: number;
  readonly isWritableByAll: boolean;
}

/**
 * Does with a small file what a save does: writes, syncs, renames and removes it. So that a directory that cannot keep the
 * runs is found at the start, and not at the stop.
 *
 * @throws StorageError that names the directory, what it refuses, and the ways out
 */
export async function probeDataDir(dataDir: string): Promise<DataDirState> {
  const path = join(dataDir, `.shadowkeep-probe-${randomBytes(8).toString('hex')}`);
  try {
    await writeFileAtomic(path, randomBytes(PROBE_BYTES), { overwrite: true, mode: PRIVATE_FILE_MODE });
    await rm(path);
    await syncDirectory(dataDir);
    const [disk, { mode }] = [await statfs(dataDir), await stat(dataDir)];
    return { freeBytes: disk.bavail * disk.bsize, isWritableByAll: (mode & WRITABLE_BY_ALL) !== 0 };
  } catch (error) {
    await rm(path, { force: true }).catch(() => undefined);
    throw unusable(dataDir, error);
  }
}

/** The error for a data directory that cannot be used. */
export function unusable(dataDir: string, error: unknown): StorageError {
  const { code, message } = storageError(error, 'use', dataDir);
  const ways =
    'make it writable and give it room, or choose another one (--data-dir DIR), or keep no runs over restarts';
  return new StorageError(
    code,
    dataDir,
    `the data directory ${dataDir} cannot keep runs: ${message}; ${ways} (--data-dir none)`,
    error,
  );
}
