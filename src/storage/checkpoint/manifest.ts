import { createHash } from 'node:crypto';
import { isDType } from '../../common/index.js';
import { StorageError } from '../errors.js';
import type { TensorSpec } from '../safetensors/format.js';
import { canonicalJson } from './canonical-json.js';

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
  const rest = { ...manifest, step: manifest.step ?? null, format: MANIFEST_FORMAT, version: MANIFEST_VERSION };
  const sha256 = digest(canonicalJson(rest));
  return Buffer.from(`${canonicalJson({ ...rest, sha256 })}\n`);
}

/**
 * Checks the digest first, then the version, then each field: a manifest of any version proves that it is whole.
 *
 * @throws StorageError DAMAGED; TOO_NEW
 */
export function parseManifest(bytes: Uint8Array, path: string): Manifest {
  const damaged = (problem: string) => new StorageError('DAMAGED', path, `${path} is damaged: ${problem}`);
  const fields = parseWhole(bytes, damaged);
  if (fields['format'] !== MANIFEST_FORMAT) throw damaged(`its format is not ${MANIFEST_FORMAT}`);
  if (fields['version'] !== MANIFEST_VERSION) {
    const message = `${path} has the format version ${fields['version']}, this program reads version ${MANIFEST_VERSION}`;
    throw new StorageError('TOO_NEW', path, message);
  }
  const { run, sequence, step, state, files } = fields;
  const isHead = typeof run === 'string' && isCount(sequence) && (step === null || isCount(step));
  if (!isHead || !Array.isArray(files) || !files.every(isManifestFile)) throw damaged('a field is missing or wrong');
  return { run, sequence, step: step ?? undefined, state, files };
}

function parseWhole(bytes: Uint8Array, damaged: (problem: string) => StorageError): Record<string, unknown> {
  const text = Buffer.from(bytes).toString();
  let value: unknown;
  let canonical: string;
  try {
    value = JSON.parse(text);
    canonical = `${canonicalJson(value)}\n`;
  } catch {
    throw damaged('it is not JSON');
  }
  if (!isRecord(value)) throw damaged('it is not an object');
  const { sha256: expected, ...rest } = value;
  const found = digest(canonicalJson(rest));
  if (found !== expected) throw damaged(`expected sha256 ${String(expected).slice(0, 64)}, found ${found}`);
  // The bytes themselves must be the ones that were written, not just their meaning.
  if (!Buffer.from(canonical).equals(bytes)) throw damaged('it is not in canonical form');
  return value;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
