import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { StorageError, storageError } from './errors.js';

/**
 * Bytes that are read or written at a time. Hashing them (1.8 GB/s) holds the event loop for about half a millisecond.
 */
export const PIECE_BYTES = 1 << 20;

/**
 * Opens a regular file to read. `followLinks: false` refuses a symbolic link as the last part of the path.
 * O_NONBLOCK keeps a pipe from holding the call until somebody writes to it; regular files ignore it.
 */
export async function openToRead(path: string, options: { followLinks: boolean }): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (options.followLinks ? 0 : constants.O_NOFOLLOW);
  let handle: FileHandle;
  try {
    handle = await open(path, flags);
  } catch (error) {
    throw storageError(error, 'open', path);
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new StorageError('INVALID_FILE', path, `${path} is not a regular file`);
}

/** The bytes of a file from `begin` to `end`, in pieces of at most PIECE_BYTES, each a buffer of its own. */
export async function* readPieces(
  handle: FileHandle,
  path: string,
  begin: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = begin; at < end; at += PIECE_BYTES) {
    yield await readExactly(handle, path, at, Math.min(PIECE_BYTES, end - at));
  }
}

/** `length` bytes at `position`. @throws StorageError INVALID_FILE when the file ends before them */
export async function readExactly(
  handle: FileHandle,
  path: string,
  position: number,
  length: number,
): Promise<Uint8Array> {
  // Wholly overwritten below, or thrown away: uninitialised memory never gets out.
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const bytesRead = await readSome(handle, path, bytes.subarray(filled), position + filled);
    if (bytesRead === 0) {
      throw new StorageError('INVALID_FILE', path, `${path} ends at ${position + filled}, not at ${position + length}`);
    }
    filled += bytesRead;
  }
  return bytes;
}

async function readSome(handle: FileHandle, path: string, into: Uint8Array, position: number): Promise<number> {
  try {
    return (await handle.read(into, 0, into.length, position)).bytesRead;
  } catch (error) {
    throw storageError(error, 'read', path);
  }
}

/** SHA-256 of a whole open file, in hexadecimal. */
export async function sha256OfFile(handle: FileHandle, path: string, fileBytes: number): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of readPieces(handle, path, 0, fileBytes)) hash.update(piece);
  return hash.digest('hex');
}
