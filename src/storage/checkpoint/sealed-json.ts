import { createHash } from 'node:crypto';
import { StorageError } from '../errors.js';
import { canonicalJson } from './canonical-json.js';

/*
 * One line of canonical JSON whose field `sha256` is the digest of the canonical JSON of all the rest: a file that proves by
 * itself that it is whole.
 */

export type SealedFields = Record<string, unknown>;

export function encodeSealed(fields: SealedFields): Uint8Array {
  const members = membersOf(fields);
  const sealed = [...members, ...membersOf({ sha256: digest(objectText(members)) })].sort(byName);
  return Buffer.from(`${objectText(sealed)}\n`);
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
  try {
    value = JSON.parse(text);
  } catch {
    throw damagedFile(path, 'it is not JSON');
  }
  if (!isRecord(value)) throw damagedFile(path, 'it is not an object');
  const members = membersOf(value);
  const { sha256: expected, ...rest } = value;
  const found = digest(objectText(members.filter(([name]) => name !== 'sha256')));
  if (found !== expected) throw damagedFile(path, `expected sha256 ${String(expected).slice(0, 64)}, found ${found}`);
  // The bytes themselves must be the ones that were written, not just their meaning.
  if (!Buffer.from(`${objectText(members)}\n`).equals(bytes)) throw damagedFile(path, 'it is not in canonical form');
  return rest;
}

/** A field's name, and its value as canonical JSON. */
type Member = readonly [name: string, text: string];

/** The fields in the order of canonical JSON. Each value becomes text once: those of a large layout are megabytes. */
function membersOf(fields: SealedFields): Member[] {
  const present = Object.entries(fields).filter(([, value]) => value !== undefined);
  return present.map(([name, value]): Member => [name, canonicalJson(value)]).sort(byName);
}

function byName([a]: Member, [b]: Member): number {
  return a < b ? -1 : 1;
}

function objectText(members: readonly Member[]): string {
  return `{${members.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function isRecord(value: unknown): value is SealedFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
