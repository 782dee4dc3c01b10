import { DTYPE_BYTES, type DType, elementCount } from '../../common/index.js';

/*
 * A safetensors file:
 *
 *   0        8                  8 + H                     end of the file
 *   ┌────────┬──────────────────┬─────────┬─────────┬─────┐
 *   │ H, u64 │ header: H bytes  │ tensor  │ tensor  │ …   │   little-endian, row-major, packed: no gap,
 *   │  LE    │ of JSON, spaces  │ 0       │ 1       │     │   no overlap, nothing after the last one
 *   └────────┴──────────────────┴─────────┴─────────┴─────┘
 *
 *   { "__metadata__": { "format": "pt", … },                     optional, strings only
 *     "NAME": { "dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end] }, … }
 *
 * `data_offsets` count from 8 + H.
 */

/** Length of the field that says how long the header is. */
export const LENGTH_FIELD_BYTES = 8;

/** The header is padded with spaces so that the data starts on a multiple of it: the largest element. */
export const DATA_ALIGNMENT_BYTES = 8;

/** A header of 65,536 tensors with names of 100 bytes takes 14 MB; the reference reader allows 100 MB. */
export const HEADER_BYTES_MAX = 16 * (1 << 20);

/** Entries of a header, those of `__metadata__` included: ten times the largest open models. */
export const HEADER_ENTRY_COUNT_MAX = 100_000;

/** The one entry that is not a tensor. */
export const METADATA_KEY = '__metadata__';

export interface TensorSpec {
  name: string;
  dtype: DType;
  /** Extents, row-major; a scalar has none, an extent of 0 is legal. */
  shape: readonly number[];
}

export interface SafetensorsTensor extends TensorSpec {
  /** Where the tensor's bytes are in the data, which starts at `SafetensorsFile.dataBegin`. */
  beginBytes: number;
  endBytes: number;
}

/** The checked header of a safetensors file. */
export interface SafetensorsFile {
  path: string;
  /** Position of the first tensor byte in the file. */
  dataBegin: number;
  fileBytes: number;
  /** The tensors in the order of their bytes in the file. */
  tensors: SafetensorsTensor[];
  metadata: ReadonlyMap<string, string>;
}

/** Packed bytes of a tensor, or undefined when they are too many to count. */
export function tensorBytes(tensor: Pick<TensorSpec, 'dtype' | 'shape'>): number | undefined {
  const count = elementCount(tensor.shape);
  return count === undefined ? undefined : count * DTYPE_BYTES[tensor.dtype];
}
