import type { DType } from '../../common/index.js';

export type Policy = 'AVERAGE' | 'COPY' | 'COPY_ONCE' | 'IGNORE';

/** A tensor of a run, as declared: checked names, dtypes and extents. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly policy: Policy;
}
