import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { lookAt, syncDirectory } from '../directory.js';
import { type StorageError, storageError } from '../errors.js';
import { DELETED_PREFIX, listCheckpoints, listDirectory, runDirectory, TEMPORARY_PREFIX } from './layout.js';

/** Tells this process's temporary directories from those that a crashed one left. */
const PROCESS_ID = randomBytes(6).toString('hex');
let temporaryCount = 0;

/** A name for a directory that readers pass over, unique in the data directory. */
export function temporaryName(prefix: string = TEMPORARY_PREFIX): string {
  temporaryCount += 1;
  return `${prefix}${PROCESS_ID}-${temporaryCount}`;
}

/** Removes all checkpoints but the `keep` newest. */
export async function removeOlder(runDir: string, keep: number): Promise<void> {
  const older = (await listCheckpoints(runDir)).slice(keep);
  for (const { path } of older.reverse()) await removeDirectory(path, join(runDir, temporaryName()));
}

/** Removes what crashed processes left in a run's directory. The data directory's lock is held, so they are gone. */
export async function removeLeftovers(runDir: string): Promise<void> {
  for (const { name } of await listDirectory(runDir)) {
    const isLeftover = name.startsWith(TEMPORARY_PREFIX) && !name.startsWith(`${TEMPORARY_PREFIX}${PROCESS_ID}-`);
    if (isLeftover) await removeTree(join(runDir, name));
  }
}

/**
 * Deletes all files of a run, at once for whoever looks: after a power cut too they are there whole or not at all. A run that
 * is not there is deleted.
 *
 * @returns why what was deleted still takes room: it is tried again with the next deletion, and at the next start
 * @throws StorageError; ShadowkeepError INVALID_NAME. The run's files are as they were then.
 */
export async function deleteRunFiles(dataDir: string, run: string): Promise<StorageError | undefined> {
  const path = await runDirectory(dataDir, run);
  if ((await lookAt(path)) !== undefined) {
    const hidden = join(dataDir, temporaryName(DELETED_PREFIX));
    await renameDirectory(path, hidden);
    try {
      await syncDirectory(dataDir);
    } catch (error) {
      await renameDirectory(hidden, path);
      throw error;
    }
  }
  return await removeDeleted(dataDir);
}

/** Removes what deletions have left. Returns why it could not. */
export async function removeDeleted(dataDir: string): Promise<StorageError | undefined> {
  try {
    for (const { name } of await listDirectory(dataDir)) {
      if (name.startsWith(DELETED_PREFIX)) await removeTree(join(dataDir, name));
    }
    return undefined;
  } catch (error) {
    return storageError(error, 'remove what was deleted from', dataDir);
  }
}

/** Renames, then removes: a directory that is half gone never carries a name that is read. */
async function removeDirectory(path: string, renamedPath: string): Promise<void> {
  await renameDirectory(path, renamedPath);
  await syncDirectory(dirname(renamedPath));
  await removeTree(renamedPath);
}

async function renameDirectory(path: string, renamedPath: string): Promise<void> {
  try {
    await rename(path, renamedPath);
  } catch (error) {
    throw storageError(error, 'remove', path);
  }
}

async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    throw storageError(error, 'remove', path);
  }
}
