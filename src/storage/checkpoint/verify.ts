import type { FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { lookAt } from '../directory.js';
import { errnoOf, StorageError } from '../errors.js';
import { openToRead, readExactly, sha256OfFile } from '../pieces.js';
import { SafetensorsReader } from '../safetensors/reader.js';
import { type CheckpointDirectory, MANIFEST_NAME } from './layout.js';
import { MANIFEST_BYTES_MAX, type Manifest, type ManifestFile, parseManifest } from './manifest.js';
import { damagedFile } from './sealed-json.js';

/** A checkpoint whose every byte has been held against its manifest. Close the readers. */
export interface VerifiedCheckpoint {
  manifest: Manifest;
  /** One per file of the manifest, open. */
  readers: SafetensorsReader[];
}

/**
 * Reads a whole checkpoint and compares it with its manifest, and the manifest with the place where it was found.
 *
 * @param place where the checkpoint belongs: while it is being written its directory has another name
 * @throws StorageError DAMAGED, TOO_NEW, UNSAFE_PATH, IO
 */
export async function verifyCheckpoint(
  directory: string,
  run: string,
  place: CheckpointDirectory,
): Promise<VerifiedCheckpoint> {
  if ((await lookAt(directory))?.isDirectory() !== true) {
    throw new StorageError('UNSAFE_PATH', directory, `${directory} is a link or a file, it must be a directory`);
  }
  const manifest = await asDamage(readManifest(directory), directory);
  if (manifest.run !== run || manifest.step !== place.step || manifest.sequence !== place.sequence) {
    const found = `run ${manifest.run}, step ${manifest.step ?? 'none'}, sequence ${manifest.sequence}`;
    throw damagedFile(directory, `its manifest belongs to ${found}`);
  }
  const readers: SafetensorsReader[] = [];
  try {
    for (const file of manifest.files) readers.push(await asDamage(openVerified(directory, file), directory));
  } catch (error) {
    await closeAll(readers);
    throw error;
  }
  return { manifest, readers };
}

export async function closeAll(readers: readonly SafetensorsReader[]): Promise<void> {
  for (const reader of readers) await reader.close();
}

async function readManifest(directory: string): Promise<Manifest> {
  const path = join(directory, MANIFEST_NAME);
  const handle = await openToRead(path, { followLinks: false });
  try {
    const { size } = await handle.stat();
    if (size > MANIFEST_BYTES_MAX)
      throw damagedFile(path, `it has ${size} bytes, at most ${MANIFEST_BYTES_MAX} are allowed`);
    return parseManifest(await readExactly(handle, path, 0, size), path);
  } finally {
    await handle.close();
  }
}

async function openVerified(directory: string, file: ManifestFile): Promise<SafetensorsReader> {
  if (basename(file.name) !== file.name)
    throw damagedFile(directory, `its manifest names a file elsewhere: ${file.name}`);
  const path = join(directory, file.name);
  const handle = await openToRead(path, { followLinks: false });
  try {
    await checkDigest(handle, path, file);
    const reader = await SafetensorsReader.fromHandle(handle, path);
    checkTensors(reader, path, file);
    return reader;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function checkDigest(handle: FileHandle, path: string, file: ManifestFile): Promise<void> {
  const { size } = await handle.stat();
  if (size !== file.bytes) throw damagedFile(path, `expected ${file.bytes} bytes, found ${size}`);
  const sha256 = await sha256OfFile(handle, path, size);
  if (sha256 !== file.sha256) throw damagedFile(path, `expected sha256 ${file.sha256}, found ${sha256}`);
}

function checkTensors(reader: SafetensorsReader, path: string, file: ManifestFile): void {
  const describe = (tensors: ManifestFile['tensors'] | SafetensorsReader['file']['tensors']) =>
    JSON.stringify(tensors.map(({ name, dtype, shape }) => [name, dtype, shape]));
  if (describe(reader.file.tensors) === describe(file.tensors)) return;
  throw damagedFile(path, 'its tensors are not those of the manifest');
}

/** A file that is missing, cannot be read from the disk or is no safetensors file is damage to its checkpoint. */
async function asDamage<T>(promise: Promise<T>, directory: string): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    if (!(error instanceof StorageError) || !isDamage(error)) throw error;
    throw new StorageError('DAMAGED', error.path, `the checkpoint ${directory} is damaged: ${error.message}`, error);
  }
}

function isDamage(error: StorageError): boolean {
  return error.code === 'NOT_FOUND' || error.code === 'INVALID_FILE' || errnoOf(error.cause) === 'EIO';
}
