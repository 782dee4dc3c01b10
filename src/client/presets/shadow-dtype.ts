import type { Precision } from '../../common/index.js';
import { type Option, optional, REQUIRED, word } from './option.js';

const PRECISION_OF = { float32: 'F32', float64: 'F64' } as const satisfies Record<string, Precision>;

type ShadowDType = keyof typeof PRECISION_OF;

/** An option that is the dtype of the peer's accumulator. No narrower dtype is taken: a shadow has at least float32. */
export function shadowDType(): Option<ShadowDType | null> {
  return optional(word(Object.keys(PRECISION_OF) as ShadowDType[], REQUIRED));
}

export function precisionOf(dtype: ShadowDType | null): { precision?: Precision } {
  return dtype === null ? {} : { precision: PRECISION_OF[dtype] };
}
