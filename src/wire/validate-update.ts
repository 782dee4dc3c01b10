import { checkRunName, crc32c, type FloatDType, isFloatDType, ShadowkeepError } from '../common/index.js';
import type { PlacedTensor } from '../engine/index.js';
import { integer, invalidField, nonNegative, unimplemented } from './fields.js';
import type { Box__Output } from './gen/shadowkeep/v1/Box.js';
import type { Chunk__Output } from './gen/shadowkeep/v1/Chunk.js';
import type { Commit__Output } from './gen/shadowkeep/v1/Commit.js';
import type { UpdateOpen__Output } from './gen/shadowkeep/v1/UpdateOpen.js';
import type { UpdateRequest__Output } from './gen/shadowkeep/v1/UpdateRequest.js';

export type UpdateMessage =
  | { readonly kind: 'open'; readonly open: UpdateOpen__Output }
  | { readonly kind: 'chunk'; readonly step: number; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'commit'; readonly step: number; readonly bytes: number; readonly isInitial: boolean }
  | { readonly kind: 'skip'; readonly step: number };

/** One message of an Update stream, alone: what its order and the run demand is checked where those are known. */
export function validateUpdate(request: UpdateRequest__Output): UpdateMessage {
  if (request.open) return { kind: 'open', open: request.open };
  if (request.chunk) return validateChunk(request.chunk);
  if (request.commit) return validateCommit(request.commit);
  throw invalidField('message', 'is missing: open, chunk or commit is required');
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

export interface UpdateTarget {
  readonly run: string;
  readonly generation: number;
  readonly wireDType: FloatDType | undefined;
}

export function validateUpdateOpen(open: UpdateOpen__Output): UpdateTarget {
  checkRunName(open.run, 'open.run');
  integer('open.writer', open.writer, 0, 0);
  const wire = open.wire_dtype;
  if (wire !== 'DTYPE_UNSPECIFIED' && !isFloatDType(wire)) {
    throw invalidField('open.wire_dtype', `must be F16, BF16, F32 or F64, got ${wire}`);
  }
  return {
    run: open.run,
    generation: nonNegative('open.generation', open.generation),
    wireDType: wire === 'DTYPE_UNSPECIFIED' ? undefined : wire,
  };
}

/** Boxes may only say what no boxes say, each tensor whole and in order; parts of tensors are not served yet. */
export function validateBoxes(boxes: readonly Box__Output[], tensors: readonly PlacedTensor[]): void {
  if (boxes.length === 0) return;
  const indexed = tensors.map((tensor, index) => ({ tensor, index }));
  const sent = [
    ...indexed.filter(({ tensor }) => tensor.policy === 'AVERAGE' || tensor.policy === 'COPY'),
    ...indexed.filter(({ tensor }) => tensor.policy === 'COPY_ONCE'),
  ];
  for (const [position, box] of boxes.entries()) {
    const field = `open.boxes[${position}]`;
    integer(`${field}.tensor`, box.tensor, 0, tensors.length - 1);
    checkRank(field, box, tensors[box.tensor]);
    const expected = sent[position];
    const isWhole =
      (box.offset.length === 0 && box.extent.length === 0) ||
      (box.offset.every((start) => start === 0) && box.extent.join() === expected?.tensor.shape.join());
    if (box.tensor !== expected?.index || !isWhole || box.replica_group !== 0) throw unimplemented(field, box);
  }
  if (boxes.length !== sent.length) throw unimplemented('open.boxes length', boxes.length);
}

/** A box has an offset and an extent for each dimension, or neither for any. */
function checkRank(field: string, { offset, extent }: Box__Output, tensor: PlacedTensor | undefined): void {
  if (offset.length === 0 && extent.length === 0) return;
  const rank = tensor?.shape.length;
  if (offset.length !== rank || extent.length !== rank) {
    const found = `${offset.length} offsets and ${extent.length} extents`;
    throw invalidField(field, `must have ${rank} offsets and extents, or none, got ${found}`);
  }
}
