import type { DType } from '../../common/index.js';

export type Policy = 'AVERAGE' | 'COPY' | 'COPY_ONCE' | 'IGNORE';

/** A tensor of a run, as declared: checked names, dtypes and extents. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly policy: Policy;
}

/**
 * Where a tensor lives. `flat` counts elements of the averaged space, or bytes of the copied space. Every tensor starts
 * where its own bytes would be aligned to 64, so that a wire of the same dtypes and the flat space run in step and
 * ten thousand small tensors fold like one large one.
 */
export interface PlacedTensor extends TensorSpec {
  readonly count: number;
  readonly bytes: number;
  readonly flat: number;
}

/** Tensors in the order of a layout: the array of a request, or the table of a run. */
export interface TensorList<Tensor extends TensorSpec = TensorSpec> extends Iterable<Tensor> {
  readonly length: number;
  at(index: number): Tensor | undefined;
}
