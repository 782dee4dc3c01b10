import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { assert } from '../common/index.js';
import { lookAt, syncDirectory, syncFile } from './directory.js';
import { errnoOf, StorageError, storageError } from './errors.js';
import { PIECE_BYTES } from './pieces.js';
import { publishExclusive, publishOver } from './publish.js';

/** Length and SHA-256 (hexadecimal) of a finished file, taken from the bytes on their way to the disk. */
export interface FileDigest {
  bytes: number;
  sha256: string;
}

export interface AtomicFileOptions {
  /** Replace what is there; without it an existing file is refused and never touched. Default false. */
  overwrite?: boolean;
  /** Permissions, before the umask. Default 0o666. */
  mode?: number;
  /** Expected length of the file, bytes, for the message when the disk is full. */
  bytesExpected?: number;
}

/**
 * A file that appears whole or not at all. It is written beside its target:
 *
 *   DIR/.shadowkeep-<16 hex>.tmp   written, fsynced, closed   (seal)
 *   DIR/NAME                       the same file, renamed or linked, DIR fsynced   (publish)
 *
 * Whatever fails removes the temporary file. Calls are made one after another.
 */
export class AtomicFile {
  readonly path: string;
  readonly #options: AtomicFileOptions;
  readonly #temporary: string;
  readonly #hash = createHash('sha256');
  /** Gathers small writes: thousands of small tensors cost no system call each. */
  readonly #gathered = Buffer.alloc(PIECE_BYTES);
  #gatheredBytes = 0;
  #writtenBytes = 0;
  #handle: FileHandle | undefined;
  #busy = false;

  private constructor(path: string, options: AtomicFileOptions) {
    this.path = path;
    this.#options = options;
    this.#temporary = join(dirname(path), `.shadowkeep-${randomBytes(8).toString('hex')}.tmp`);
  }

  /** @throws StorageError EXISTS, INVALID_INPUT (a directory), NOT_FOUND (no such directory), IO */
  static async create(path: string, options: AtomicFileOptions = {}): Promise<AtomicFile> {
    const found = await lookAt(path);
    if (found?.isDirectory()) throw new StorageError('INVALID_INPUT', path, `${path} is a directory`);
    if (found !== undefined && options.overwrite !== true) {
      throw new StorageError('EXISTS', path, `${path} exists already`);
    }
    const file = new AtomicFile(path, options);
    try {
      file.#handle = await open(file.#temporary, 'wx', options.mode ?? 0o666);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw storageError(error, 'write', path);
      throw new StorageError('NOT_FOUND', path, `cannot write ${path}: its directory does not exist`, error);
    }
    return file;
  }

  /** Appends bytes; they may be changed once the promise is fulfilled. */
  async write(bytes: Uint8Array): Promise<void> {
    assert(!this.#busy, 'one write at a time');
    this.#busy = true;
    try {
      for (let at = 0; at < bytes.length; ) at += await this.#accept(bytes.subarray(at, at + PIECE_BYTES));
    } catch (error) {
      await this.abort();
      throw error;
    } finally {
      this.#busy = false;
    }
  }

  /** Puts all bytes on the disk, still under the temporary name. @throws StorageError; StorageFatalError */
  async seal(): Promise<FileDigest> {
    const handle = this.#opened();
    try {
      await this.#flush();
      await syncFile(handle, this.path);
      this.#handle = undefined;
      await handle.close();
    } catch (error) {
      await this.abort();
      throw storageError(error, 'close', this.path);
    }
    return { bytes: this.#writtenBytes, sha256: this.#hash.digest('hex') };
  }

  /** Gives a sealed file its name. @throws StorageError EXISTS when somebody made the target meanwhile */
  async publish(): Promise<void> {
    try {
      if (this.#options.overwrite === true) await publishOver(this.#temporary, this.path);
      else await publishExclusive(this.#temporary, this.path);
    } catch (error) {
      await this.abort();
      throw error;
    }
    await syncDirectory(dirname(this.path));
  }

  /** Removes the temporary file. After `publish` there is none, and this does nothing. */
  async abort(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    // The first failure is the one to report: what cannot be tidied now carries a name that nobody reads.
    await handle?.close().catch(() => undefined);
    await rm(this.#temporary, { force: true }).catch(() => undefined);
  }

  /** Takes as much of a piece as fits, and returns how much that was. A whole piece goes to the disk without a copy. */
  async #accept(piece: Uint8Array): Promise<number> {
    if (this.#gatheredBytes === 0 && piece.length === PIECE_BYTES) {
      await this.#append(piece);
      return piece.length;
    }
    const part = piece.subarray(0, PIECE_BYTES - this.#gatheredBytes);
    this.#gathered.set(part, this.#gatheredBytes);
    this.#gatheredBytes += part.length;
    if (this.#gatheredBytes === PIECE_BYTES) await this.#flush();
    return part.length;
  }

  async #flush(): Promise<void> {
    const piece = this.#gathered.subarray(0, this.#gatheredBytes);
    this.#gatheredBytes = 0;
    await this.#append(piece);
  }

  /** Hashes a piece while the system writes it. */
  async #append(piece: Uint8Array): Promise<void> {
    const written = this.#writeWhole(piece);
    this.#hash.update(piece);
    await written;
  }

  /** A write may stop short without an error when the disk fills up; the next one says why. */
  async #writeWhole(piece: Uint8Array): Promise<void> {
    const handle = this.#opened();
    for (let at = 0; at < piece.length; ) {
      try {
        const { bytesWritten } = await handle.write(piece, at, piece.length - at, this.#writtenBytes);
        if (bytesWritten === 0)
          throw new StorageError('IO', this.path, `cannot write ${this.path}: nothing was written`);
        at += bytesWritten;
        this.#writtenBytes += bytesWritten;
      } catch (error) {
        throw await this.#writeError(error);
      }
    }
  }

  async #writeError(error: unknown): Promise<StorageError> {
    const failure = storageError(error, 'write', this.path);
    if (failure.code !== 'NO_SPACE') return failure;
    const disk = await statfs(dirname(this.path));
    const needed = this.#options.bytesExpected ?? this.#writtenBytes + this.#gatheredBytes;
    const free = disk.bavail * disk.bsize;
    const message =
      `no space left for ${this.path}: it needs ${needed} bytes, ` +
      `${this.#writtenBytes} were written when ${free} bytes were free`;
    return new StorageError('NO_SPACE', this.path, message, error);
  }

  #opened(): FileHandle {
    assert(this.#handle !== undefined, 'the file is open for writing');
    return this.#handle;
  }
}

/** Writes a small file that appears whole or not at all. */
export async function writeFileAtomic(
  path: string,
  bytes: Uint8Array,
  options: AtomicFileOptions = {},
): Promise<FileDigest> {
  const file = await AtomicFile.create(path, { bytesExpected: bytes.length, ...options });
  await file.write(bytes);
  const digest = await file.seal();
  await file.publish();
  return digest;
}
