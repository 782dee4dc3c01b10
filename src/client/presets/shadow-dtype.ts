import type { Precision } from '../../common/index.js';
import { type Option, optional, REQUIRED, word } from './option.js';

const PRECISION_OF = { float32: 'F32', float64: 'F64' } as const satisfies Record<string, Precision>;

type ShadowDType = keyof typeof PRECISION_OF;

/** The peer's dtype of its accumulator. Shadows are never narrower than float32. */
export function shadowDType(): Option<ShadowDType | null> {
  return optional(word(Object.keys(PRECISION_OF) as ShadowDType[], REQUIRED));
}

export function precisionOf(dtype: ShadowDType | null): { precision?: Precision } {
  return dtype === null ? {} : { precision: PRECISION_OF[dtype] };
}
