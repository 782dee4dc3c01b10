import { link, open, rename, rm } from 'node:fs/promises';
import { errnoOf, StorageError, storageError } from './errors.js';

/** Error codes with which file systems without hard links (FAT, some network and FUSE ones) answer link(2). */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Gives `temporary` the name `path`, replacing what is there. */
export async function publishOver(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    throw storageError(error, 'write', path);
  }
}

/** Gives `temporary` the name `path`, which nobody may have: link(2) fails where rename(2) would replace. */
export async function publishExclusive(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (NO_HARD_LINKS.has(errnoOf(error) ?? '')) return claimAndRename(temporary, path);
    throw existsOr(error, path);
  }
  await rm(temporary, { force: true });
}

/** Takes a name where the file system has no links: an empty file takes it, then the data takes its place. */
export async function claimAndRename(temporary: string, path: string): Promise<void> {
  try {
    await (await open(path, 'wx')).close();
  } catch (error) {
    throw existsOr(error, path);
  }
  try {
    await publishOver(temporary, path);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

function existsOr(error: unknown, path: string): StorageError {
  if (errnoOf(error) !== 'EEXIST') return storageError(error, 'write', path);
  return new StorageError('EXISTS', path, `${path} exists already`, error);
}
