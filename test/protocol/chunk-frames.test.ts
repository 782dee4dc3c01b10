import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ChunkFrame } from '../../src/protocol/chunk-frames.js';
import { frameShadowChunk, frameUpdateChunk, shadowWeightsDefinition } from '../../src/protocol/index.js';

const SEED = 20_250_618;
const edges = [0, 1, 127, 128, 16_383, 16_384, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
const numbers = fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat());
const data = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.constantFrom(0, 127, 128, 16_383, 16_384, 100_000, 2 ** 21).map((bytes) => new Uint8Array(bytes).fill(0x5a)),
);
const checksums = fc.option(fc.nat(2 ** 32 - 1), { nil: undefined });

/** The message, in memory that was not clean. */
function filled(frame: ChunkFrame, bytes: Uint8Array, crc32c: number | undefined): Buffer {
  expect(frame.data).toHaveLength(bytes.length);
  frame.data.set(bytes);
  if (crc32c !== undefined) frame.setCrc32c(crc32c);
  return frame.message;
}

/** Without Vitest's comparison, which walks a buffer byte by byte. */
function expectSame(message: Buffer, generated: Buffer): void {
  expect(message.equals(generated), `${message.toString('hex', 0, 40)} is ${generated.toString('hex', 0, 40)}`).toBe(
    true,
  );
}

test(`a chunk of a step is the message that the generated encoder makes, seed ${SEED}`, () => {
  fc.assert(
    fc.property(numbers, numbers, data, checksums, (step, offset, bytes, crc32c) => {
      const fields = { offset, dataBytes: bytes.length, withCrc32c: crc32c !== undefined };
      const frame = frameUpdateChunk(step, fields, (length) => Buffer.alloc(length, 0xee));
      const chunk = { step, offset, data: bytes, ...(crc32c !== undefined && { crc32c }) };
      expectSame(filled(frame, bytes, crc32c), shadowWeightsDefinition.Update.requestSerialize({ chunk }));
    }),
    { seed: SEED, numRuns: 300 },
  );
});

test(`a chunk of a shadow is the message that the generated encoder makes, seed ${SEED}`, () => {
  fc.assert(
    fc.property(numbers, data, checksums, (offset, bytes, crc32c) => {
      const frame = frameShadowChunk({ offset, dataBytes: bytes.length, withCrc32c: crc32c !== undefined });
      const chunk = { offset, data: bytes, ...(crc32c !== undefined && { crc32c }) };
      expectSame(filled(frame, bytes, crc32c), shadowWeightsDefinition.GetShadow.responseSerialize({ chunk }));
    }),
    { seed: SEED, numRuns: 300 },
  );
});
