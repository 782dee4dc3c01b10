import type { FileHandle } from 'node:fs/promises';
import { StorageError } from '../errors.js';
import { openToRead, readExactly, readPieces } from '../pieces.js';
import { LENGTH_FIELD_BYTES, type SafetensorsFile, type SafetensorsTensor } from './format.js';
import { parseHeader, parseHeaderLength } from './parse-header.js';

/** An open safetensors file whose header has been checked. Close it. */
export class SafetensorsReader {
  readonly file: SafetensorsFile;
  readonly #handle: FileHandle;

  private constructor(file: SafetensorsFile, handle: FileHandle) {
    this.file = file;
    this.#handle = handle;
  }

  /** @throws StorageError NOT_FOUND, INVALID_FILE, IO */
  static async open(path: string): Promise<SafetensorsReader> {
    const handle = await openToRead(path, { followLinks: true });
    try {
      return await SafetensorsReader.fromHandle(handle, path);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Takes over an open file, unless it throws. */
  static async fromHandle(handle: FileHandle, path: string): Promise<SafetensorsReader> {
    const { size } = await handle.stat();
    if (size < LENGTH_FIELD_BYTES) {
      throw new StorageError('INVALID_FILE', path, `${path} is not a safetensors file: it has ${size} bytes`);
    }
    const headerBytes = parseHeaderLength(await readExactly(handle, path, 0, LENGTH_FIELD_BYTES), path, size);
    const header = await readExactly(handle, path, LENGTH_FIELD_BYTES, headerBytes);
    return new SafetensorsReader(parseHeader(header, path, size), handle);
  }

  /** The packed bytes of one tensor of `file`, in pieces of at most 1 MiB, each a buffer of its own. */
  readTensor(tensor: SafetensorsTensor): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#read(tensor.beginBytes, tensor.endBytes);
  }

  /** The packed bytes of all tensors one after another, in pieces of at most 1 MiB, each a buffer of its own. */
  readData(): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#read(0, this.file.fileBytes - this.file.dataBegin);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  #read(begin: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { path, dataBegin } = this.file;
    return readPieces(this.#handle, path, dataBegin + begin, dataBegin + end);
  }
}

/** Reads the header of a safetensors file. @throws StorageError NOT_FOUND, INVALID_FILE, IO */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsFile> {
  const reader = await SafetensorsReader.open(path);
  await reader.close();
  return reader.file;
}
