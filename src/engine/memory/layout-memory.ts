import { FLOAT_DTYPES } from '../../common/index.js';
import type { AverageSpec } from '../averages/index.js';
import { SEGMENT_COLUMN_BYTES } from '../layout/segments.js';
import type { TensorList } from '../layout/tensor-spec.js';
import { EXTENT_COLUMN_BYTES, TENSOR_COLUMN_BYTES } from '../layout/tensor-table.js';
import { WIRE_COLUMN_BYTES } from '../layout/wire-plan.js';
import { READ_TENSOR_BYTES } from '../read/read-tensors.js';

/*
 * Memory of a layout beside the arenas, in columns and in JavaScript's heap. It is computed here, and measured by
 * test/engine/memory/layout-memory.test.ts.
 */

/** Bytes of a text beside its characters. Each character takes one byte, or two when any of them is not Latin-1. */
const TEXT_HEAP_BYTES = 24;

/** Bytes of a tensor in the lists of reads, of which there is one for each dtype. */
const READS_BYTES = FLOAT_DTYPES.length * READ_TENSOR_BYTES;

/** Bytes of a tensor in a plan of the byte space, if it is a segment of its own and the columns have just doubled. */
const PLAN_BYTES = WIRE_COLUMN_BYTES + 2 * SEGMENT_COLUMN_BYTES;

/**
 * Bytes of a tensor: in the layout, in the plans of a whole step and of the last fold, in reads, and in the mark of
 * averaged tensors.
 */
const TENSOR_BYTES = TENSOR_COLUMN_BYTES + 2 * PLAN_BYTES + READS_BYTES + 1;

/** Bytes of an average beside its patterns: of its rule, its state and its plans. */
const AVERAGE_HEAP_BYTES = 4_096;

// biome-ignore lint/suspicious/noControlCharactersInRegex: all characters that V8 stores in one byte
const LATIN1 = /^[\u0000-\u00ff]*$/;

export function textHeapBytes(text: string): number {
  return TEXT_HEAP_BYTES + text.length * (LATIN1.test(text) ? 1 : 2);
}

/** Bytes of an average: of its patterns, of the marks of the tensors that they choose, and of its own lists of reads. */
export function averageHeapBytes({ include, exclude }: AverageSpec, tensorCount: number): number {
  const patterns = [...include, ...exclude];
  const chosen = patterns.length === 0 ? 0 : tensorCount * (1 + READS_BYTES);
  return patterns.reduce((sum, pattern) => sum + textHeapBytes(pattern) + 8, AVERAGE_HEAP_BYTES + chosen);
}

/** Bytes of the columns of a layout, of its plans and of its lists of reads. */
export function layoutBytes(tensors: TensorList): number {
  let [chars, extents, isLatin1] = [0, 0, true];
  for (const { name, shape } of tensors) {
    chars += name.length;
    extents += shape.length;
    isLatin1 &&= LATIN1.test(name);
  }
  return tensors.length * TENSOR_BYTES + extents * EXTENT_COLUMN_BYTES + chars * (isLatin1 ? 1 : 2);
}
