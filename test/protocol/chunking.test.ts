import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ByteChunk, ChunkCutter, ChunkScatter, layOut } from '../../src/protocol/index.js';

const SEED = 20250611;
/** Around the alignment (64), the chunk (64 and 160) and several of it. */
const lengths = fc.array(fc.oneof(fc.nat(200), fc.constantFrom(0, 1, 63, 64, 65, 160, 320, 1000)), { maxLength: 12 });
const chunkBytes = fc.constantFrom(16, 64, 160, 4096);

function tensorBytes(length: number, tensor: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => ((tensor * 31 + index * 7) % 255) + 1);
}

/** The byte space in one piece, laid out in the plainest way. */
function wholeSpace(tensors: readonly Uint8Array[]): Uint8Array {
  const bytes: number[] = [];
  for (const tensor of tensors) {
    bytes.push(...tensor);
    while (bytes.length % 64 !== 0) bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

function* pieces(bytes: Uint8Array, pieceBytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

function cut(tensors: readonly Uint8Array[], size: number, pieceBytes: number): ByteChunk[] {
  const cutter = new ChunkCutter(size);
  const chunks: ByteChunk[] = [];
  for (const tensor of tensors) {
    for (const piece of pieces(tensor, pieceBytes)) chunks.push(...cutter.add(piece));
    chunks.push(...cutter.endTensor());
  }
  chunks.push(...cutter.end());
  return chunks;
}

describe('layOut', () => {
  test('starts each tensor at a multiple of 64, and an empty one takes nothing', () => {
    expect(layOut([1, 0, 64, 65])).toEqual({
      offsets: [0, 64, 64, 128],
      lengths: [1, 0, 64, 65],
      totalBytes: 256,
    });
    expect(layOut([])).toEqual({ offsets: [], lengths: [], totalBytes: 0 });
  });
});

describe('ChunkCutter', () => {
  test('its chunks are the byte space, whatever the pieces', () => {
    fc.assert(
      fc.property(lengths, chunkBytes, fc.constantFrom(1, 16, 50, 160, 10_000), (sizes, size, pieceBytes) => {
        const tensors = sizes.map(tensorBytes);
        const chunks = cut(tensors, size, pieceBytes);
        const space = wholeSpace(tensors);
        expect(layOut(sizes).totalBytes).toBe(space.length);
        expect(chunks.map((chunk) => chunk.offset)).toEqual(chunks.map((_, index) => index * size));
        for (const chunk of chunks.slice(0, -1)) expect(chunk.data.length).toBe(size);
        expect(Buffer.concat(chunks.map((chunk) => chunk.data))).toEqual(Buffer.from(space));
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  test('begins where it is told: the rest of the space, wherever the cut', () => {
    fc.assert(
      fc.property(lengths, chunkBytes, fc.nat(100), (sizes, size, cutAt) => {
        const tensors = sizes.map(tensorBytes);
        const space = wholeSpace(tensors);
        const begin = Math.min(16 * cutAt, space.length);
        const { offsets, totalBytes } = layOut(sizes);
        const cutter = new ChunkCutter(size, begin);
        const chunks: ByteChunk[] = [];
        tensors.forEach((tensor, index) => {
          const skipped = Math.max(0, begin - offsets[index]!);
          if ((offsets[index + 1] ?? totalBytes) <= begin) return;
          chunks.push(...cutter.add(tensor.subarray(skipped)), ...cutter.endTensor());
        });
        chunks.push(...cutter.end());
        expect(chunks.map((chunk) => chunk.offset)).toEqual(chunks.map((_, index) => begin + index * size));
        expect(Buffer.concat(chunks.map((chunk) => chunk.data))).toEqual(Buffer.from(space.subarray(begin)));
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  test('gives a view where a piece holds a whole chunk, and never a buffer that it fills again', () => {
    const large = tensorBytes(160, 0);
    const chunks = cut([large, ...[10, 50, 60, 20].map(tensorBytes)], 64, 1000);
    expect(chunks[0]!.data.buffer).toBe(large.buffer);
    const own = chunks.filter((chunk) => chunk.data.buffer !== large.buffer).map((chunk) => chunk.data.buffer);
    expect(own).toHaveLength(5);
    expect(new Set(own).size).toBe(own.length);
  });
});

describe('ChunkScatter', () => {
  test('gives every tensor its bytes, whatever the chunks', () => {
    fc.assert(
      fc.property(lengths, chunkBytes, (sizes, size) => {
        const tensors = sizes.map(tensorBytes);
        const scatter = new ChunkScatter(layOut(sizes));
        const received = sizes.map((length) => new Uint8Array(length));
        const filled = sizes.map(() => 0);
        for (const chunk of pieces(wholeSpace(tensors), size)) {
          for (const piece of scatter.place(chunk)) {
            expect(piece.begin).toBe(filled[piece.tensor]);
            received[piece.tensor]!.set(piece.data, piece.begin);
            filled[piece.tensor]! += piece.data.length;
          }
        }
        expect(filled).toEqual(sizes);
        expect(received).toEqual(tensors);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  test('a chunk past the end is our own mistake', () => {
    const scatter = new ChunkScatter(layOut([64]));
    expect(() => [...scatter.place(new Uint8Array(80))]).toThrow('broken invariant');
  });
});
