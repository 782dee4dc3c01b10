import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, type DType, FLOAT_DTYPES, isDType, isFloatDType, PRECISIONS } from '../../src/common/index.js';
import { packageDefinition } from '../../src/protocol/index.js';

const dtypes = Object.keys(DTYPE_BYTES) as DType[];

describe('dtypes', () => {
  test('are those of the proto, in its order', () => {
    const { type } = packageDefinition['shadowkeep.v1.Dtype'] as { type: { value: { name: string }[] } };
    expect(type.value.map(({ name }) => name)).toEqual(['DTYPE_UNSPECIFIED', ...dtypes]);
  });

  test.each(dtypes)('%s has the bytes that its name says', (dtype) => {
    const bits = dtype === 'BOOL' ? 8 : Number(/\d+/.exec(dtype)?.[0]);
    expect(DTYPE_BYTES[dtype] * 8).toBe(bits);
    expect(isDType(dtype)).toBe(true);
    expect(isFloatDType(dtype)).toBe((FLOAT_DTYPES as readonly string[]).includes(dtype));
  });

  test.each(['DTYPE_UNSPECIFIED', 'f32', 'toString', '__proto__', 3, undefined, null])('%j is none', (value) => {
    expect([isDType(value), isFloatDType(value)]).toEqual([false, false]);
  });

  test('each precision is a float', () => {
    expect(PRECISIONS.filter((precision) => !isFloatDType(precision))).toEqual([]);
  });
});
