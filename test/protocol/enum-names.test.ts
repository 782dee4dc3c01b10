import { loadSync } from '@grpc/proto-loader';
import { describe, expect, test } from 'vitest';
import { PROTO, PROTO_OPTIONS } from '../../src/protocol/definition.js';
import { packageDefinition, shadowWeightsDefinition } from '../../src/protocol/index.js';

interface EnumDescriptor {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number: number }[];
}

const enumsOf = (definition: typeof packageDefinition): EnumDescriptor[] =>
  Object.values(definition).flatMap(({ format, type }) =>
    String(format).includes('EnumDescriptor') ? [type as unknown as EnumDescriptor] : [],
  );
const upperSnake = (name: string) => name.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();

describe.each(enumsOf(loadSync(PROTO, PROTO_OPTIONS)))('the values of $name', ({ name, value }) => {
  test('carry its name in the proto, so that no two of the package are one word in C++', () => {
    const prefix = `${upperSnake(name)}_`;
    expect(value.filter((each) => !each.name.startsWith(prefix))).toEqual([]);
    expect(value[0]).toMatchObject({ name: `${prefix}UNSPECIFIED`, number: 0 });
  });

  test('are short in JavaScript, with the same numbers', () => {
    const short = enumsOf(packageDefinition).find((each) => each.name === name);
    const prefix = `${upperSnake(name)}_`;
    const expected = value.map((each) => ({
      ...each,
      name: each.name.replace(prefix, each.number === 0 ? prefix : ''),
    }));
    expect(short?.value).toEqual(expected);
  });
});

test('the proto has enums to look at', () => {
  expect(enumsOf(loadSync(PROTO, PROTO_OPTIONS)).length).toBeGreaterThanOrEqual(8);
});

test('short names are the same bytes as the numbers', () => {
  const { requestSerialize } = shadowWeightsDefinition.Update;
  expect(requestSerialize({ open: { wire_dtype: 'BF16' } })).toEqual(Buffer.from([0x0a, 2, 5 << 3, 11]));
});
