import { FLOAT_DTYPES } from '../../common/index.js';
import type { AverageSpec } from '../averages/index.js';
import type { TensorSpec } from '../layout/tensor-spec.js';
import { READ_TENSOR_BYTES } from '../read/read-tensors.js';

/*
 * What a layout takes of JavaScript's heap, which no arena counts: measured (test/engine/memory/layout-memory.test.ts), rounded up.
 */

/** A tensor: as declared and placed, in the byte space of a step, in the lists of reads, and its place in lists by index. */
export const TENSOR_HEAP_BYTES = 448;

/** One extent of a shape, in a list that has grown by half ahead. */
export const EXTENT_HEAP_BYTES = 12;

/** A text beside its characters, which take one byte each, or two when one of them is not Latin-1. */
export const TEXT_HEAP_BYTES = 24;

/** A tensor in the lists of reads, one for each dtype, of an average that leaves some out: it has lists of its own. */
const OWN_READ_HEAP_BYTES = FLOAT_DTYPES.length * READ_TENSOR_BYTES;

/** An average beside its patterns: its rule, its state and its plans. */
const AVERAGE_HEAP_BYTES = 4_096;

// biome-ignore lint/suspicious/noControlCharactersInRegex: all characters that V8 stores in one byte
const LATIN1 = /^[\u0000-\u00ff]*$/;

export function textHeapBytes(text: string): number {
  return TEXT_HEAP_BYTES + text.length * (LATIN1.test(text) ? 1 : 2);
}

export function tensorHeapBytes({ name, shape }: Pick<TensorSpec, 'name' | 'shape'>): number {
  return TENSOR_HEAP_BYTES + shape.length * EXTENT_HEAP_BYTES + textHeapBytes(name);
}

/** What an average takes: its patterns, and which tensors they choose. */
export function averageHeapBytes({ include, exclude }: AverageSpec, tensorCount: number): number {
  const patterns = [...include, ...exclude];
  const chosen = patterns.length === 0 ? 0 : tensorCount * (1 + OWN_READ_HEAP_BYTES);
  return patterns.reduce((sum, pattern) => sum + textHeapBytes(pattern) + 8, AVERAGE_HEAP_BYTES + chosen);
}

export function layoutHeapBytes(tensors: readonly TensorSpec[], averages: readonly AverageSpec[]): number {
  const ofAverages = averages.reduce((sum, average) => sum + averageHeapBytes(average, tensors.length), 0);
  return tensors.reduce((sum, tensor) => sum + tensorHeapBytes(tensor), ofAverages);
}
