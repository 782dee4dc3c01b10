import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type FileDigest, writeFileAtomic } from '../atomic-file.js';
import { makeDirectory, syncDirectory } from '../directory.js';
import { StorageError, storageError } from '../errors.js';
import type { TensorSpec } from '../safetensors/format.js';
import { SafetensorsWriter } from '../safetensors/writer.js';
import { encodeIndex, type PlannedFile, planShadowFiles, type ShadowPlan } from './plan.js';
import { type DirectoryLayout, refuseExisting, resolveTarget } from './target.js';

export interface ShadowFilesOptions {
  /** Replace files that are there. Default false: an existing file is refused and nothing is touched. */
  overwrite?: boolean;
  /** Tensor bytes above which the model is cut into shards. Default 5 GB, as transformers has it. */
  shardBytesMax?: number;
  /**
   * The library whose file names are used when `path` is a directory. Default: the one whose files lie there, else
   * transformers.
   */
  layout?: DirectoryLayout | undefined;
  /** Strings for `__metadata__` of each file, beside `format: "pt"`. */
  metadata?: Readonly<Record<string, string>>;
}

export interface ShadowFilesResult {
  /** The file that a loader takes: the only file, or the index. */
  path: string;
  files: ({ path: string } & FileDigest)[];
  /** Tensor bytes in all files. */
  tensorBytes: number;
}

/**
 * Writes a model the way `from_pretrained` loads it: `model.safetensors` (`diffusion_pytorch_model.safetensors` for
 * diffusers), or shards and their index.
 *
 * @param path a file that ends in .safetensors, or a directory: there already, or named with a final slash and then
 *   made. Shards and their index lie beside the named file and share its stem.
 * @throws StorageError EXISTS, INVALID_INPUT, NOT_FOUND, NO_SPACE, IO
 */
export async function createShadowFiles(
  path: string,
  tensors: readonly TensorSpec[],
  options: ShadowFilesOptions = {},
): Promise<ShadowFiles> {
  const target = await resolveTarget(path, options.layout);
  const plan = planShadowFiles(target.stem, tensors, options.shardBytesMax);
  if (options.overwrite !== true) await refuseExisting(target, plan);
  const made = path.endsWith('/') ? await makeDirectory(target.directory, 0o777) : [];
  return ShadowFiles.create(target.directory, plan, options, made);
}

/**
 * One model on its way to the disk. Shards wait under temporary names until all bytes are there; then each gets its
 * name, and the index comes last, so that a loader finds all of the model or none. Whatever fails removes every file
 * that was made. Calls are made one after another.
 */
export class ShadowFiles {
  readonly #directory: string;
  readonly #plan: ShadowPlan;
  readonly #options: ShadowFilesOptions;
  /** Directories that this output made, the outermost first. */
  readonly #madeDirectories: string[];
  readonly #sealed: { writer: SafetensorsWriter; file: PlannedFile; digest: FileDigest }[] = [];
  readonly #publishedPaths: string[] = [];
  #current: { writer: SafetensorsWriter; file: PlannedFile; leftBytes: number } | undefined;
  #finished = false;

  private constructor(directory: string, plan: ShadowPlan, options: ShadowFilesOptions, madeDirectories: string[]) {
    this.#directory = directory;
    this.#plan = plan;
    this.#options = options;
    this.#madeDirectories = madeDirectories;
  }

  /** For `createShadowFiles`, which has checked the plan. */
  static async create(directory: string, plan: ShadowPlan, options: ShadowFilesOptions, madeDirectories: string[]) {
    const files = new ShadowFiles(directory, plan, options, madeDirectories);
    await files.#orAbort(() => files.#openNext());
    return files;
  }

  /** Appends the tensors' bytes: packed, in their order, cut anywhere. @throws StorageError */
  async write(bytes: Uint8Array): Promise<void> {
    await this.#orAbort(async () => {
      for (let at = 0; at < bytes.length; ) at += await this.#writeSome(bytes.subarray(at));
    });
  }

  /** Puts the model in place. @throws StorageError when bytes are missing, or a target has appeared meanwhile */
  async finish(): Promise<ShadowFilesResult> {
    const { indexName, totalBytes } = this.#plan;
    await this.#orAbort(async () => {
      this.#refuseMissing();
      await this.#seal();
      await this.#publish();
    });
    this.#finished = true;
    const files = this.#sealed.map(({ file, digest }) => ({ path: this.#path(file.name), ...digest }));
    return { path: indexName ? this.#path(indexName) : files[0]!.path, files, tensorBytes: totalBytes };
  }

  /** Removes every file that was made. After `finish` it does nothing. */
  async abort(): Promise<void> {
    if (this.#finished) return;
    await this.#current?.writer.abort();
    for (const { writer } of this.#sealed) await writer.abort();
    for (const path of this.#publishedPaths) await rm(path, { force: true });
    // A directory that somebody else has put something into stays.
    for (const made of this.#madeDirectories.toReversed()) await rmdir(made).catch(() => undefined);
  }

  /** Writes what the current file takes, and returns how much that was. The last file gets, and refuses, what is over. */
  async #writeSome(bytes: Uint8Array): Promise<number> {
    const isLast = this.#sealed.length + 1 === this.#plan.files.length;
    if (this.#current!.leftBytes === 0 && !isLast) {
      await this.#seal();
      await this.#openNext();
    }
    const current = this.#current!;
    const part = isLast ? bytes : bytes.subarray(0, current.leftBytes);
    await current.writer.write(part);
    current.leftBytes -= part.length;
    return part.length;
  }

  async #openNext(): Promise<void> {
    const file = this.#plan.files[this.#sealed.length]!;
    const { overwrite = false, metadata = {} } = this.#options;
    const writer = await SafetensorsWriter.create(this.#path(file.name), file.tensors, { overwrite, metadata });
    this.#current = { writer, file, leftBytes: file.bytes };
  }

  /** The current file knows what it lacks, but not that others should follow it. */
  #refuseMissing(): void {
    const missingFiles = this.#plan.files.slice(this.#sealed.length + 1);
    if (missingFiles.length === 0) return;
    const path = this.#path(missingFiles[0]!.name);
    throw new StorageError('INVALID_INPUT', path, `cannot write ${path}: no bytes came for it`);
  }

  async #seal(): Promise<void> {
    const { writer, file } = this.#current!;
    this.#sealed.push({ writer, file, digest: await writer.seal() });
  }

  async #publish(): Promise<void> {
    const { indexName, rivalName } = this.#plan;
    const overwrite = this.#options.overwrite === true;
    // An old index must not speak for new shards, not even for a moment.
    if (overwrite && indexName !== undefined) await this.#remove(indexName);
    for (const { writer, file } of this.#sealed) {
      await writer.publish();
      this.#publishedPaths.push(this.#path(file.name));
    }
    if (indexName !== undefined) {
      await writeFileAtomic(this.#path(indexName), encodeIndex(this.#plan), { overwrite });
    }
    if (overwrite) await this.#remove(rivalName);
  }

  async #remove(name: string): Promise<void> {
    try {
      await rm(this.#path(name), { force: true });
    } catch (error) {
      throw storageError(error, 'remove', this.#path(name));
    }
    await syncDirectory(this.#directory);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  async #orAbort(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      await this.abort();
      throw error;
    }
  }
}
