import type { Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { errnoOf, StorageFatalError, storageError } from './errors.js';

/** Checkpoints are weights: for the owner only. */
export const PRIVATE_DIRECTORY_MODE = 0o700;
export const PRIVATE_FILE_MODE = 0o600;

/** Forces what was written to `handle` to the disk. @throws StorageFatalError, after which nobody may try again */
export async function syncFile(handle: FileHandle, path: string): Promise<void> {
  try {
    await handle.sync();
  } catch (error) {
    throw new StorageFatalError(path, error);
  }
}

/** Makes the names in a directory durable: a rename or a new file is lost in a power cut without it. */
export async function syncDirectory(path: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw storageError(error, 'open', path);
  }
  try {
    await syncFile(handle, path);
  } finally {
    await handle.close();
  }
}

/**
 * Makes a directory, and those above it, so that they survive a power cut. One that is there stays as it is.
 *
 * @returns the directories that were made, the outermost first
 */
export async function makeDirectory(path: string, mode: number): Promise<string[]> {
  const absolute = resolve(path);
  try {
    await mkdir(absolute, { mode });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return [];
    if (errnoOf(error) !== 'ENOENT') throw storageError(error, 'make the directory', absolute);
    const above = await makeDirectory(dirname(absolute), mode);
    return [...above, ...(await makeDirectory(absolute, mode))];
  }
  await syncDirectory(dirname(absolute));
  return [absolute];
}

/** Looks at what is at `path`, without following a link there. Returns undefined when nothing is there. */
export async function lookAt(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw storageError(error, 'look at', path);
  }
}
