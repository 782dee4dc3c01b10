import { quote } from '../../common/index.js';
import { StorageError } from '../errors.js';
import { type TensorSpec, tensorBytes } from '../safetensors/format.js';

/**
 * Largest file, bytes: transformers cuts there by default ("5GB"), and most download services take files of that size.
 */
export const SHARD_BYTES_MAX = 5e9;

export const EXTENSION = '.safetensors';

/** Digits of a shard's number: `model-00001-of-00042.safetensors`. */
const SHARD_DIGITS = 5;

interface Shard {
  tensors: TensorSpec[];
  bytes: number;
}

export interface PlannedFile extends Shard {
  name: string;
}

export interface ShadowPlan {
  files: PlannedFile[];
  /** Name of the index, when there are shards. */
  indexName: string | undefined;
  /** Files that a loader would take for this model if they stayed there: the single file beside shards, or the index. */
  rivalName: string;
  totalBytes: number;
}

/**
 * Cuts a model into files as transformers does: a shard takes tensors in order until the next one would exceed
 * `shardBytesMax`. A tensor is never split, so one larger than the bound has a shard of its own.
 */
export function planShadowFiles(
  stem: string,
  tensors: readonly TensorSpec[],
  shardBytesMax: number = SHARD_BYTES_MAX,
): ShadowPlan {
  if (!(shardBytesMax >= 1)) {
    throw new StorageError('INVALID_INPUT', stem, `shardBytesMax is ${shardBytesMax}, it must be at least 1`);
  }
  const first: Shard = { tensors: [], bytes: 0 };
  const shards = [first];
  let last = first;
  for (const tensor of tensors) {
    const bytes = countBytes(tensor, stem);
    // A shard never holds empty tensors only: each is opened by a byte that goes into it.
    if (bytes > 0 && last.bytes > 0 && last.bytes + bytes > shardBytesMax) {
      last = { tensors: [], bytes: 0 };
      shards.push(last);
    }
    last.tensors.push(tensor);
    last.bytes += bytes;
  }
  return nameFiles(stem, shards);
}

function countBytes(tensor: TensorSpec, stem: string): number {
  const bytes = tensorBytes(tensor);
  if (bytes !== undefined) return bytes;
  const message = `tensor ${quote(tensor.name)} has too many elements: [${tensor.shape}]`;
  throw new StorageError('INVALID_INPUT', stem, message);
}

function nameFiles(stem: string, shards: Shard[]): ShadowPlan {
  const singleName = `${stem}${EXTENSION}`;
  const indexName = `${singleName}.index.json`;
  const totalBytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  if (shards.length === 1) {
    const files = shards.map((shard) => ({ ...shard, name: singleName }));
    return { files, indexName: undefined, rivalName: indexName, totalBytes };
  }
  const digits = (value: number) => String(value).padStart(SHARD_DIGITS, '0');
  const files = shards.map((shard, at) => ({
    ...shard,
    name: `${stem}-${digits(at + 1)}-of-${digits(shards.length)}${EXTENSION}`,
  }));
  return { files, indexName, rivalName: singleName, totalBytes };
}

/** The index of a model in shards, as transformers writes and reads it. */
export function encodeIndex(plan: ShadowPlan): Uint8Array {
  const weightMap = plan.files.flatMap((file) => file.tensors.map((tensor) => [tensor.name, file.name]));
  // fromEntries defines properties, so that no name can reach a prototype.
  const index = { metadata: { total_size: plan.totalBytes }, weight_map: Object.fromEntries(weightMap) };
  return Buffer.from(`${JSON.stringify(index, undefined, 2)}\n`);
}
