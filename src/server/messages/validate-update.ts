import {
  checkRunName,
  crc32c,
  INCARNATION_CHARS_MAX,
  isFloatDType,
  ShadowkeepError,
  WRITER_COUNT_MAX,
} from '../../common/index.js';
import type { BoxList, WriterRequest } from '../../engine/index.js';
import type { Chunk__Output, Commit__Output, UpdateOpen__Output, UpdateRequest__Output } from '../../protocol/index.js';
import { integer, invalidField, nonNegative } from './fields.js';

/** A decoded UpdateRequest. The boxes of its opening are not in the message but beside it, in columns. */
export type DecodedUpdate = UpdateRequest__Output & { readonly boxList?: BoxList };

export type UpdateMessage =
  | { readonly kind: 'open'; readonly open: UpdateOpen__Output; readonly boxes: BoxList | undefined }
  | { readonly kind: 'chunk'; readonly step: number; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'commit'; readonly step: number; readonly bytes: number; readonly isInitial: boolean }
  | { readonly kind: 'skip'; readonly step: number }
  | { readonly kind: 'lost'; readonly through: number };

/**
 * Checks one message of an Update stream by itself. What depends on the order of messages or on the run is checked
 * where these are known. Throws INVALID_FIELD, CRC_MISMATCH.
 */
export function validateUpdate(request: DecodedUpdate): UpdateMessage {
  if (request.open) return { kind: 'open', open: request.open, boxes: request.boxList };
  if (request.chunk) return validateChunk(request.chunk);
  if (request.commit) return validateCommit(request.commit);
  if (request.lost) return { kind: 'lost', through: nonNegative('lost.through', request.lost.through) };
  throw invalidField('message', 'is missing: open, chunk, commit or lost is required');
}

function validateChunk(chunk: Chunk__Output): UpdateMessage {
  const step = nonNegative('chunk.step', chunk.step);
  const offset = nonNegative('chunk.offset', chunk.offset);
  const { data } = chunk;
  if (chunk.crc32c !== undefined) {
    const found = crc32c(data);
    if (found !== chunk.crc32c) {
      throw new ShadowkeepError(
        'CRC_MISMATCH',
        `chunk of step ${step} at offset ${offset} has crc32c ${found}, its header says ${chunk.crc32c}`,
        { metadata: { step, offset, expected: chunk.crc32c, found } },
      );
    }
  }
  return { kind: 'chunk', step, offset, data };
}

function validateCommit(commit: Commit__Output): UpdateMessage {
  const step = nonNegative('commit.step', commit.step);
  const bytes = nonNegative('commit.bytes', commit.bytes);
  if (commit.skipped && commit.initial) throw invalidField('commit.skipped', 'and commit.initial exclude each other');
  if (commit.skipped) return { kind: 'skip', step };
  return { kind: 'commit', step, bytes, isInitial: commit.initial };
}

export interface UpdateTarget extends WriterRequest {
  readonly run: string;
}

/** Checks an opening by itself. Its boxes are checked where the run's layout is known. Throws INVALID_FIELD. */
export function validateUpdateOpen({ open, boxes }: Extract<UpdateMessage, { kind: 'open' }>): UpdateTarget {
  checkRunName(open.run, 'open.run');
  const wire = open.wire_dtype;
  if (wire !== 'DTYPE_UNSPECIFIED' && !isFloatDType(wire)) {
    throw invalidField('open.wire_dtype', `must be F16, BF16, F32 or F64, got ${wire}`);
  }
  integer('open.session length', open.session.length, 0, INCARNATION_CHARS_MAX);
  return {
    run: open.run,
    generation: nonNegative('open.generation', open.generation),
    writer: integer('open.writer', open.writer, 0, WRITER_COUNT_MAX - 1),
    boxes,
    wireDType: wire === 'DTYPE_UNSPECIFIED' ? undefined : wire,
    takeover: open.takeover,
    session: open.session,
  };
}
