import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { assert, checkRunName } from '../../common/index.js';
import { writeFileAtomic } from '../atomic-file.js';
import { makeDirectory, PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, syncDirectory } from '../directory.js';
import { StorageError, StorageFatalError, storageError } from '../errors.js';
import type { TensorSpec } from '../safetensors/format.js';
import { SafetensorsWriter } from '../safetensors/writer.js';
import {
  type CheckpointDirectory,
  checkpointDirectory,
  listCheckpoints,
  MANIFEST_NAME,
  runDirectory,
} from './layout.js';
import { encodeManifest, MANIFEST_BYTES_MAX, type ManifestFile } from './manifest.js';
import { removeLeftovers, removeOlder, temporaryName } from './remove.js';
import { TensorChecksums } from './tensor-checksums.js';
import { closeAll, verifyCheckpoint } from './verify.js';

/** With two, a checkpoint that rots on the disk is not the only one. */
export const CHECKPOINT_COUNT_KEPT = 2;

export interface CheckpointPart {
  /** Names the part, and its file: letters, digits, ".", "_" and "-", at most 128; unique also without case. */
  name: string;
  tensors: readonly TensorSpec[];
  /** The packed bytes of the tensors in their order, cut anywhere; a buffer may be used again for the next piece. */
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface CheckpointContent {
  /** The step that this is the state after; undefined before the first. */
  step: number | undefined;
  /** Any JSON value: it comes back as it was. */
  state: unknown;
  parts: readonly CheckpointPart[];
  /** Called when everything is written and synced, before the checkpoint gets its name. What it throws, it never gets it. */
  beforePublish?: () => Promise<void>;
}

export interface WrittenCheckpoint {
  path: string;
  /** Bytes of its files, the manifest included. */
  bytes: number;
  /** Why older checkpoints or leftovers could not be removed; the checkpoint itself is safe. */
  cleanupError: StorageError | undefined;
}

/**
 * Writes a checkpoint that is there whole or not at all, and survives a power cut once the promise is fulfilled. It is
 * built under another name, synced, read back and compared, and only then gets its own; older ones go after that.
 *
 * @throws StorageError NO_SPACE, INVALID_INPUT, DAMAGED (what was read back differs), UNSAFE_PATH, IO;
 *   StorageFatalError; ShadowkeepError INVALID_NAME. What is left is what was there before.
 */
export async function writeCheckpoint(
  dataDir: string,
  run: string,
  content: CheckpointContent,
): Promise<WrittenCheckpoint> {
  checkContent(content);
  const { runDir, place } = await prepare(dataDir, run, content.step);
  const building = join(runDir, temporaryName());
  let bytes: number;
  try {
    bytes = await build(building, run, place, content);
    await content.beforePublish?.();
    await publish(building, runDir, place);
  } catch (error) {
    await rm(building, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
  return { path: place.path, bytes, cleanupError: await cleanUp(runDir) };
}

function checkContent({ step, parts }: CheckpointContent): void {
  const names = new Set<string>();
  for (const { name } of parts) {
    checkRunName(name, 'part');
    assert(!names.has(name.toLowerCase()), `the part ${name} is named once`);
    names.add(name.toLowerCase());
  }
  assert(step === undefined || (Number.isSafeInteger(step) && step >= 0), 'a step is a whole number');
}

async function prepare(dataDir: string, run: string, step: number | undefined) {
  checkRunName(run);
  await makeDirectory(dataDir, PRIVATE_DIRECTORY_MODE);
  const runDir = await runDirectory(dataDir, run);
  await makeDirectory(runDir, PRIVATE_DIRECTORY_MODE);
  const [newest] = await listCheckpoints(runDir);
  return { runDir, place: checkpointDirectory(runDir, step, (newest?.sequence ?? 0) + 1) };
}

/** Writes and verifies everything under `building`; each file syncs that directory. Returns the bytes on the disk. */
async function build(building: string, run: string, place: CheckpointDirectory, content: CheckpointContent) {
  try {
    await mkdir(building, { mode: PRIVATE_DIRECTORY_MODE });
  } catch (error) {
    throw storageError(error, 'make the directory', building);
  }
  const files: ManifestFile[] = [];
  for (const part of content.parts) files.push(await writePart(building, part));
  const manifestBytes = await writeManifest(building, run, place, content.state, files);
  const { readers } = await verifyCheckpoint(building, run, place);
  await closeAll(readers);
  return files.reduce((sum, file) => sum + file.bytes, manifestBytes);
}

async function writePart(directory: string, part: CheckpointPart): Promise<ManifestFile> {
  const name = `${part.name}.safetensors`;
  const checksums = new TensorChecksums(part.tensors);
  // The directory is ours and new: nothing can be replaced.
  const options = { overwrite: true, mode: PRIVATE_FILE_MODE };
  const writer = await SafetensorsWriter.create(join(directory, name), part.tensors, options);
  try {
    for await (const bytes of part.bytes) {
      checksums.update(bytes);
      await writer.write(bytes);
    }
  } catch (error) {
    await writer.abort();
    throw error;
  }
  const digest = await writer.finish();
  const tensors = part.tensors.map(({ name, dtype, shape }, index) => {
    return { name, dtype, shape, crc32c: checksums.checksums[index]! };
  });
  return { part: part.name, name, ...digest, tensors };
}

async function writeManifest(
  directory: string,
  run: string,
  { step, sequence }: CheckpointDirectory,
  state: unknown,
  files: ManifestFile[],
): Promise<number> {
  const path = join(directory, MANIFEST_NAME);
  const bytes = encodeManifest({ run, sequence, step, state, files });
  if (bytes.length > MANIFEST_BYTES_MAX) {
    const message = `the manifest ${path} has ${bytes.length} bytes, at most ${MANIFEST_BYTES_MAX} are allowed`;
    throw new StorageError('INVALID_INPUT', path, message);
  }
  return (await writeFileAtomic(path, bytes, { overwrite: true, mode: PRIVATE_FILE_MODE })).bytes;
}

async function publish(building: string, runDir: string, place: CheckpointDirectory): Promise<void> {
  try {
    await rename(building, place.path);
  } catch (error) {
    throw storageError(error, 'write', place.path);
  }
  await syncDirectory(runDir);
}

async function cleanUp(runDir: string): Promise<StorageError | undefined> {
  try {
    await removeOlder(runDir, CHECKPOINT_COUNT_KEPT);
    await removeLeftovers(runDir);
    return undefined;
  } catch (error) {
    if (error instanceof StorageFatalError) throw error;
    return storageError(error, 'clean up', runDir);
  }
}
