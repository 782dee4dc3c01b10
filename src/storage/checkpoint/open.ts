import { StorageError } from '../errors.js';
import type { TensorSpec } from '../safetensors/format.js';
import type { SafetensorsReader } from '../safetensors/reader.js';
import { listCheckpoints, runDirectory } from './layout.js';
import type { ManifestFile } from './manifest.js';
import { TensorChecksums } from './tensor-checksums.js';
import { closeAll, verifyCheckpoint } from './verify.js';

export interface CheckpointPartReader {
  /** The name of the part, as it was given to `writeCheckpoint`. */
  name: string;
  /** The tensors in the order of their bytes. */
  tensors: readonly TensorSpec[];
  /**
   * The packed bytes of all tensors one after another, in pieces of at most 1 MiB, each a buffer of its own.
   *
   * @throws StorageError DAMAGED at the end, when a tensor's bytes changed after they were verified
   */
  read(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** A checkpoint whose every byte has been verified. Close it. */
export interface OpenedCheckpoint {
  path: string;
  /** The step it was taken after; undefined before the first. */
  step: number | undefined;
  /** The caller's state, any JSON value, as it was given to `writeCheckpoint`. */
  state: unknown;
  /** The parts in the order in which they were written. */
  parts: CheckpointPartReader[];
  close(): Promise<void>;
}

/**
 * The newest checkpoint of a run, undefined when it has none. Each file is compared with the digests of its manifest
 * before a byte of it is handed out; one that differs is refused, with both digests, rather than guessed at.
 *
 * @throws StorageError DAMAGED, TOO_NEW, UNSAFE_PATH, IO; ShadowkeepError INVALID_NAME
 */
export async function openCheckpoint(dataDir: string, run: string): Promise<OpenedCheckpoint | undefined> {
  const [newest] = await listCheckpoints(await runDirectory(dataDir, run));
  if (newest === undefined) return undefined;
  const { manifest, readers } = await verifyCheckpoint(newest.path, run, newest);
  return {
    path: newest.path,
    step: manifest.step,
    state: manifest.state,
    parts: manifest.files.map((file, index) => partReader(file, readers[index]!)),
    close: () => closeAll(readers),
  };
}

function partReader(file: ManifestFile, reader: SafetensorsReader): CheckpointPartReader {
  return {
    name: file.part,
    tensors: file.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    async *read() {
      const checksums = new TensorChecksums(file.tensors);
      for await (const piece of reader.readData()) {
        checksums.update(piece);
        yield piece;
      }
      checkTensorChecksums(file, checksums, reader.file.path);
    },
  };
}

function checkTensorChecksums(file: ManifestFile, checksums: TensorChecksums, path: string): void {
  for (const [index, found] of checksums.checksums.entries()) {
    const { name, crc32c } = file.tensors[index]!;
    if (found === crc32c) continue;
    const message = `${path} is damaged: tensor ${name} has crc32c ${found}, expected ${crc32c}`;
    throw new StorageError('DAMAGED', path, message);
  }
}
