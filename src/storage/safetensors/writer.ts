import { AtomicFile, type FileDigest } from '../atomic-file.js';
import { StorageError } from '../errors.js';
import { encodeHeader } from './encode-header.js';
import type { TensorSpec } from './format.js';

export interface SafetensorsWriterOptions {
  /** Strings for `__metadata__`, beside `format: "pt"`. */
  metadata?: Readonly<Record<string, string>>;
  /** Replace a file that is there; without it an existing file is refused and never touched. Default false. */
  overwrite?: boolean;
  /** Permissions, before the umask. Default 0o666. */
  mode?: number;
}

/** Metadata that transformers and its relatives look for before they load a file. */
const PYTORCH_FORMAT = { format: 'pt' } as const;

/**
 * Writes one safetensors file, which appears whole or not at all. Whatever fails leaves nothing behind.
 *
 *   const writer = await SafetensorsWriter.create('model.safetensors', tensors);
 *   for await (const bytes of source) await writer.write(bytes);
 *   const { bytes, sha256 } = await writer.finish();
 */
export class SafetensorsWriter {
  readonly #file: AtomicFile;
  readonly #dataBytes: number;
  #receivedBytes = 0;

  private constructor(file: AtomicFile, dataBytes: number) {
    this.#file = file;
    this.#dataBytes = dataBytes;
  }

  /** @throws StorageError EXISTS, INVALID_INPUT, NOT_FOUND (no such directory), NO_SPACE, IO */
  static async create(
    path: string,
    tensors: readonly TensorSpec[],
    options: SafetensorsWriterOptions = {},
  ): Promise<SafetensorsWriter> {
    const { metadata, ...fileOptions } = options;
    const { bytes, dataBytes } = encodeHeader(tensors, { ...PYTORCH_FORMAT, ...metadata }, path);
    const file = await AtomicFile.create(path, { ...fileOptions, bytesExpected: bytes.length + dataBytes });
    await file.write(bytes);
    return new SafetensorsWriter(file, dataBytes);
  }

  /** Appends the tensors' bytes: packed, in their order, cut anywhere. One call at a time. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#receivedBytes += bytes.length;
    if (this.#receivedBytes > this.#dataBytes) {
      await this.abort();
      throw this.#mismatch('at least ');
    }
    await this.#file.write(bytes);
  }

  /** Puts the file on the disk under its name. @throws StorageError; StorageFatalError */
  async finish(): Promise<FileDigest> {
    const digest = await this.seal();
    await this.publish();
    return digest;
  }

  /** The first half of `finish`: all bytes are on the disk, not yet under the file's name. */
  async seal(): Promise<FileDigest> {
    if (this.#receivedBytes === this.#dataBytes) return this.#file.seal();
    await this.abort();
    throw this.#mismatch('');
  }

  /** The second half of `finish`. */
  publish(): Promise<void> {
    return this.#file.publish();
  }

  /** Removes what was written. After `finish` it does nothing. */
  abort(): Promise<void> {
    return this.#file.abort();
  }

  #mismatch(atLeast: string): StorageError {
    const message = `cannot write ${this.#file.path}: its tensors have ${this.#dataBytes} bytes, ${atLeast}${this.#receivedBytes} came`;
    return new StorageError('INVALID_INPUT', this.#file.path, message);
  }
}
