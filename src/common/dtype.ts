/** The dtypes of the wire, by safetensors' names, with the bytes of one element. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  U32: 4,
  I32: 4,
  U64: 8,
  I64: 8,
  F16: 2,
  BF16: 2,
  F32: 4,
  F64: 8,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;

export type DType = keyof typeof DTYPE_BYTES;

/** Dtypes that can be folded into an average, and that a read can be cast to. */
export const FLOAT_DTYPES = ['F16', 'BF16', 'F32', 'F64'] as const;
export type FloatDType = (typeof FLOAT_DTYPES)[number];

/** Dtypes of a shadow and of its arithmetic. */
export const PRECISIONS = ['F32', 'F64'] as const;
export type Precision = (typeof PRECISIONS)[number];

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);
}

export function isFloatDType(value: unknown): value is FloatDType {
  return (FLOAT_DTYPES as readonly unknown[]).includes(value);
}
