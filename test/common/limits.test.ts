import { expect, test } from 'vitest';
import {
  AVERAGE_COUNT_MAX,
  CHUNK_BYTES_MAX,
  MESSAGE_BYTES_MAX,
  RANK_MAX,
  TENSOR_COUNT_MAX,
  TENSOR_NAME_BYTES_MAX,
} from '../../src/common/index.js';
import { shadowWeightsDefinition } from '../../src/protocol/index.js';

const { OpenRun, Update } = shadowWeightsDefinition;

test('the largest layout with names of 100 bytes fits in a message', () => {
  const tensors = Array.from({ length: TENSOR_COUNT_MAX }, (_, index) => ({
    name: String(index).padStart(100, 'x'),
    dtype: 'F32' as const,
    shape: [8_192, 8_192],
  }));
  const averages = Array.from({ length: AVERAGE_COUNT_MAX }, (_, index) => ({
    name: `average${index}`,
    start: 'FIRST' as const,
    mean: {},
  }));
  expect(OpenRun.requestSerialize({ run: 'r', tensors, averages }).length).toBeLessThan(MESSAGE_BYTES_MAX);
});

test('the largest tensor fits in a message', () => {
  const tensors = [
    {
      name: 'x'.repeat(TENSOR_NAME_BYTES_MAX),
      dtype: 'F32' as const,
      shape: new Array<number>(RANK_MAX).fill(2 ** 50),
    },
  ];
  expect(OpenRun.requestSerialize({ run: 'r', tensors }).length).toBeLessThan(MESSAGE_BYTES_MAX);
});

test('the largest chunk fits in gRPC’s default message of 4 MiB, with every field at its largest', () => {
  const chunk = {
    step: Number.MAX_SAFE_INTEGER,
    offset: Number.MAX_SAFE_INTEGER,
    crc32c: 2 ** 32 - 1,
    data: Buffer.alloc(CHUNK_BYTES_MAX),
  };
  expect(Update.requestSerialize({ chunk }).length).toBeLessThan(4 << 20);
});
