import { DTYPE_BYTES, type DType } from '../../common/index.js';
import type { TensorSpec } from '../safetensors/format.js';
import { anything, integer, list, object, oneOf, type Read, readFields, text } from './saved-fields.js';
import { encodeSealed, parseSealed } from './sealed-json.js';

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

/** Characters of a SHA-256 in hexadecimal. */
const SHA256_CHARS = 64;

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
  /** The tensors in the order of their bytes. */
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

const count = integer(0);

const TENSOR: Read<ManifestTensor> = object({
  name: text(0),
  dtype: oneOf(Object.keys(DTYPE_BYTES) as DType[]),
  shape: list(count),
  crc32c: integer(0, 2 ** 32 - 1),
});

const FILE: Read<ManifestFile> = object({
  part: text(1),
  name: text(1),
  bytes: count,
  sha256: text(SHA256_CHARS, SHA256_CHARS),
  tensors: list(TENSOR),
});

const MANIFEST: Read<Manifest> = object({
  run: text(1),
  sequence: integer(1),
  step: (value, where) => (value === null ? undefined : count(value, where)),
  state: anything,
  files: list(FILE),
});

/** @throws StorageError DAMAGED; TOO_NEW */
export function parseManifest(bytes: Uint8Array, path: string): Manifest {
  const fields = parseSealed(bytes, path, MANIFEST_FORMAT, MANIFEST_VERSION);
  return readFields(path, () => MANIFEST(fields, ''));
}
