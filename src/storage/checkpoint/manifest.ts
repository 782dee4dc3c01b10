import { isDType } from '../../common/index.js';
import type { TensorSpec } from '../safetensors/format.js';
import { damagedFile, encodeSealed, isRecord, parseSealed } from './sealed-json.js';

/*
 * manifest.json, one line of canonical JSON:
 *
 *   { "files": [{ "bytes", "name", "part", "sha256", "tensors": [{ "crc32c", "dtype", "name", "shape" }] }],
 *     "format": "shadowkeep-checkpoint", "run", "sequence",
 *     "sha256": of the canonical JSON of all the rest,
 *     "state": the caller's, "step": number or null, "version": 1 }
 */

export const MANIFEST_FORMAT = 'shadowkeep-checkpoint';
export const MANIFEST_VERSION = 1;

/** Half of the longest string of V8: 65,536 tensors with names of 100 bytes in 16 averages take about 200 MB. */
export const MANIFEST_BYTES_MAX = 256 * (1 << 20);

const SHA256_TEXT = /^[0-9a-f]{64}$/;

export interface ManifestTensor extends TensorSpec {
  /** CRC-32C of the tensor's packed bytes. */
  crc32c: number;
}

export interface ManifestFile {
  /** The caller's name for it. */
  part: string;
  name: string;
  bytes: number;
  sha256: string;
  /** In the order of their bytes. */
  tensors: ManifestTensor[];
}

export interface Manifest {
  run: string;
  sequence: number;
  step: number | undefined;
  /** The caller's, as it was given: any JSON value. */
  state: unknown;
  files: ManifestFile[];
}

export function encodeManifest(manifest: Manifest): Uint8Array {
  return encodeSealed({
    ...manifest,
    step: manifest.step ?? null,
    format: MANIFEST_FORMAT,
    version: MANIFEST_VERSION,
  });
}

/** @throws StorageError DAMAGED; TOO_NEW */
export function parseManifest(bytes: Uint8Array, path: string): Manifest {
  const { run, sequence, step, state, files } = parseSealed(bytes, path, MANIFEST_FORMAT, MANIFEST_VERSION);
  const isHead = typeof run === 'string' && isCount(sequence) && (step === null || isCount(step));
  if (!isHead || !Array.isArray(files) || !files.every(isManifestFile)) {
    throw damagedFile(path, 'a field is missing or wrong');
  }
  return { run, sequence, step: step ?? undefined, state, files };
}

function isManifestFile(value: unknown): value is ManifestFile {
  if (!isRecord(value)) return false;
  const { part, name, bytes, sha256, tensors } = value;
  const isHead = typeof part === 'string' && typeof name === 'string' && isCount(bytes) && typeof sha256 === 'string';
  return isHead && SHA256_TEXT.test(sha256) && Array.isArray(tensors) && tensors.every(isManifestTensor);
}

function isManifestTensor(value: unknown): value is ManifestTensor {
  if (!isRecord(value)) return false;
  const { name, dtype, shape, crc32c } = value;
  return typeof name === 'string' && isDType(dtype) && Array.isArray(shape) && shape.every(isCount) && isCount(crc32c);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
