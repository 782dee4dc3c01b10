import { createHash } from 'node:crypto';
import { readFile, realpath, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { writeFileAtomic } from './atomic-file.js';
import { makeDirectory, PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from './directory.js';
import { errnoOf, StorageError, storageError } from './errors.js';
import { unusable } from './probe.js';

/** Held while a server uses a data directory. */
export interface DataDirLock {
  /** The directory's real path. */
  readonly path: string;
  release(): Promise<void>;
}

const PID_FILE_NAME = '.shadowkeep.pid';

/**
 * Takes a data directory, made if need be, for this process: a second one is refused.
 *
 * On Linux the lock is an abstract socket's name, which the kernel frees when the process dies, however it dies. Such
 * names belong to a network namespace: two containers with one volume do not see each other. Elsewhere it is a file
 * with the process's id.
 *
 * @throws StorageError LOCKED, IO
 */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const path = await madeDirectory(dataDir);
  return process.platform === 'linux' ? lockBySocket(path) : lockByPidFile(path);
}

async function madeDirectory(dataDir: string): Promise<string> {
  try {
    await makeDirectory(dataDir, PRIVATE_DIRECTORY_MODE);
    return await realpath(dataDir);
  } catch (error) {
    throw unusable(dataDir, error);
  }
}

async function lockBySocket(path: string): Promise<DataDirLock> {
  const name = createHash('sha256').update(path).digest('hex');
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    // Stays: an error after listening (no descriptor left for a caller) is none of the lock's.
    server.on('error', (error) => {
      reject(errnoOf(error) === 'EADDRINUSE' ? locked(path) : storageError(error, 'lock', path));
    });
    // exclusive: workers of a cluster would share the name.
    server.listen({ path: `\0shadowkeep:${name}`, exclusive: true }, resolve);
  });
  server.unref();
  return { path, release: () => new Promise((resolve) => server.close(() => resolve())) };
}

/**
 * For systems without abstract sockets. The file of a process that is gone is replaced; two servers that do so in the
 * same moment could both believe to hold it, which the kernel's own lock above cannot.
 */
export async function lockByPidFile(path: string): Promise<DataDirLock> {
  const file = join(path, PID_FILE_NAME);
  if (!(await createPidFile(file))) {
    if (await isHolderAlive(file)) throw locked(path);
    await rm(file, { force: true });
    if (!(await createPidFile(file))) throw locked(path);
  }
  return { path, release: () => rm(file, { force: true }) };
}

async function createPidFile(file: string): Promise<boolean> {
  try {
    await writeFileAtomic(file, Buffer.from(String(process.pid)), { mode: PRIVATE_FILE_MODE });
    return true;
  } catch (error) {
    if (error instanceof StorageError && error.code === 'EXISTS') return false;
    throw error;
  }
}

async function isHolderAlive(file: string): Promise<boolean> {
  const pid = Number(await readFile(file, 'utf8'));
  // 0 and below would ask for process groups.
  if (!Number.isSafeInteger(pid) || pid < 1) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It lives, and belongs to somebody else.
    return errnoOf(error) === 'EPERM';
  }
}

function locked(path: string): StorageError {
  return new StorageError('LOCKED', path, `the data directory ${path} is in use by another process`);
}
