import { FLOAT_DTYPES } from '../../common/index.js';
import type { AverageSpec } from '../averages/index.js';
import { SEGMENT_COLUMN_BYTES } from '../layout/segments.js';
import type { TensorList } from '../layout/tensor-spec.js';
import { EXTENT_COLUMN_BYTES, TENSOR_COLUMN_BYTES } from '../layout/tensor-table.js';
import { WIRE_COLUMN_BYTES } from '../layout/wire-plan.js';
import { READ_TENSOR_BYTES } from '../read/read-tensors.js';

/*
 * What a layout takes beside the arenas, in JavaScript's heap and in columns: computed, and measured
 * (test/engine/memory/layout-memory.test.ts).
 */

/** A text beside its characters, which take one byte each, or two when one of them is not Latin-1. */
const TEXT_HEAP_BYTES = 24;

/** A tensor in the lists of reads, one for each dtype. */
const READS_BYTES = FLOAT_DTYPES.length * READ_TENSOR_BYTES;

/** A tensor in a plan of the byte space where it is a segment of its own; columns that have just doubled are half empty. */
const PLAN_BYTES = WIRE_COLUMN_BYTES + 2 * SEGMENT_COLUMN_BYTES;

/** A tensor of a layout: placed, in the plan of a whole step and in the plan of the last fold, in reads, and marked as averaged. */
const TENSOR_BYTES = TENSOR_COLUMN_BYTES + 2 * PLAN_BYTES + READS_BYTES + 1;

/** An average beside its patterns: its rule, its state and its plans. */
const AVERAGE_HEAP_BYTES = 4_096;

// biome-ignore lint/suspicious/noControlCharactersInRegex: all characters that V8 stores in one byte
const LATIN1 = /^[\u0000-\u00ff]*$/;

export function textHeapBytes(text: string): number {
  return TEXT_HEAP_BYTES + text.length * (LATIN1.test(text) ? 1 : 2);
}

/** What an average takes: its patterns, which tensors they choose, and lists of reads of its own. */
export function averageHeapBytes({ include, exclude }: AverageSpec, tensorCount: number): number {
  const patterns = [...include, ...exclude];
  const chosen = patterns.length === 0 ? 0 : tensorCount * (1 + READS_BYTES);
  return patterns.reduce((sum, pattern) => sum + textHeapBytes(pattern) + 8, AVERAGE_HEAP_BYTES + chosen);
}

/** What the columns of a layout take, and what comes of them: plans, and lists of reads. */
export function layoutBytes(tensors: TensorList): number {
  let [chars, extents, isLatin1] = [0, 0, true];
  for (const { name, shape } of tensors) {
    chars += name.length;
    extents += shape.length;
    isLatin1 &&= LATIN1.test(name);
  }
  return tensors.length * TENSOR_BYTES + extents * EXTENT_COLUMN_BYTES + chars * (isLatin1 ? 1 : 2);
}
