import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shadowWeightsDefinition } from '../../../src/protocol/index.js';
import { frameShadowChunk } from '../../../src/server/messages/index.js';

const SEED = 20_250_618;

test(`the hand-written message is the one that the generated encoder makes, seed ${SEED}`, () => {
  const offsets = fc.oneof(
    fc.constantFrom(0, 127, 128, 16_383, 16_384, 2 ** 32, Number.MAX_SAFE_INTEGER),
    fc.maxSafeNat(),
  );
  const lengths = fc.oneof(fc.constantFrom(1, 127, 128, 16_383, 16_384, 100_000), fc.integer({ min: 1, max: 3_000 }));
  const checksums = fc.option(fc.integer({ min: 1, max: 2 ** 32 - 1 }), { nil: undefined });
  fc.assert(
    fc.property(offsets, lengths, checksums, (offset, length, crc32c) => {
      const bytes = Buffer.alloc(length, 0x5a);
      const frame = frameShadowChunk(offset, length, crc32c !== undefined);
      expect(frame.data).toHaveLength(length);
      bytes.copy(frame.data);
      if (crc32c !== undefined) frame.setCrc32c(crc32c);
      const { responseSerialize, responseDeserialize } = shadowWeightsDefinition.GetShadow;
      const chunk = crc32c === undefined ? { offset, data: bytes } : { offset, data: bytes, crc32c };
      expect(responseDeserialize(frame.message).chunk).toMatchObject({
        offset,
        ...(crc32c === undefined ? {} : { crc32c }),
      });
      // The generated encoder leaves out a default of 0, which the frame says.
      if (offset > 0) expect(frame.message.equals(responseSerialize({ chunk }))).toBe(true);
    }),
    { seed: SEED, numRuns: 300 },
  );
});
