import { createHash } from 'node:crypto';
import { StorageError } from '../errors.js';
import { canonicalJson } from './canonical-json.js';

/*
 * One line of canonical JSON whose field `sha256` is the digest of the canonical JSON of all the rest: a file that proves by
 * itself that it is whole.
 */

export type SealedFields = Record<string, unknown>;

export function encodeSealed(fields: SealedFields): Uint8Array {
  return Buffer.from(`${canonicalJson({ ...fields, sha256: digest(canonicalJson(fields)) })}\n`);
}

/**
 * All other fields, behind the digest, the format and its version. The digest is checked first: a file of any version proves
 * that it is whole.
 *
 * @throws StorageError DAMAGED; TOO_NEW
 */
export function parseSealed(bytes: Uint8Array, path: string, format: string, version: number): SealedFields {
  const { format: foundFormat, version: foundVersion, ...fields } = parseWhole(bytes, path);
  if (foundFormat !== format) throw damagedFile(path, `its format is not ${format}`);
  if (foundVersion !== version) {
    const message = `${path} has the format version ${foundVersion}, this program reads version ${version}`;
    throw new StorageError('TOO_NEW', path, message);
  }
  return fields;
}

export function damagedFile(path: string, problem: string): StorageError {
  return new StorageError('DAMAGED', path, `${path} is damaged: ${problem}`);
}

function parseWhole(bytes: Uint8Array, path: string): SealedFields {
  const text = Buffer.from(bytes).toString();
  let value: unknown;
  let canonical: string;
  try {
    value = JSON.parse(text);
    canonical = `${canonicalJson(value)}\n`;
  } catch {
    throw damagedFile(path, 'it is not JSON');
  }
  if (!isRecord(value)) throw damagedFile(path, 'it is not an object');
  const { sha256: expected, ...rest } = value;
  const found = digest(canonicalJson(rest));
  if (found !== expected) throw damagedFile(path, `expected sha256 ${String(expected).slice(0, 64)}, found ${found}`);
  // The bytes themselves must be the ones that were written, not just their meaning.
  if (!Buffer.from(canonical).equals(bytes)) throw damagedFile(path, 'it is not in canonical form');
  return rest;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function isRecord(value: unknown): value is SealedFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
