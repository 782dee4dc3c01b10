// Lays tensors out in a byte space, and cuts that space into the chunks in which it travels:
//
//   offset  0            64·i          64·j          total (a multiple of 64)
//           | tensor 0 ▒▒| tensor 1 ▒▒▒| tensor 2 … ▒|      ▒ = zeros up to the next multiple of 64
//   chunks  |---- N ----|---- N ----|---- N ----|- rest -|  N a multiple of 16
import { ALIGNMENT_BYTES, alignedBytes, assert, CHUNK_CUT_BYTES } from '../common/index.js';

/** Where tensors lie in a byte space. All numbers are bytes. */
export interface ByteSpace {
  /** Where each tensor starts: a multiple of 64. */
  readonly offsets: readonly number[];
  /** Length of each tensor without the gap after it. */
  readonly lengths: readonly number[];
  readonly totalBytes: number;
}

/** A part of a byte space that is ready to be sent. */
export interface ByteChunk {
  readonly offset: number;
  readonly data: Uint8Array;
}

/** A part of one tensor, taken out of a chunk. */
export interface TensorPiece {
  /** Index into the byte space's tensors. */
  readonly tensor: number;
  /** Where the piece starts in the tensor, bytes. */
  readonly begin: number;
  readonly data: Uint8Array;
}

/** The byte space of tensors of these lengths, in bytes and in this order. */
export function layOut(lengths: readonly number[]): ByteSpace {
  let totalBytes = 0;
  const offsets = lengths.map((bytes) => {
    const offset = totalBytes;
    totalBytes += alignedBytes(bytes);
    return offset;
  });
  return { offsets, lengths, totalBytes };
}

/**
 * Cuts a byte space into chunks while it is being read, tensor by tensor, in pieces of any length. A chunk that lies
 * inside of one piece is a view of that piece. A chunk that spans several pieces is put together in a buffer of its
 * own.
 */
export class ChunkCutter {
  readonly #chunkBytes: number;
  /** Where in the space the next chunk begins. */
  #offset: number;
  /** The buffer of a chunk that spans pieces. */
  #partial: Uint8Array | undefined;
  /** How much of that chunk is there, bytes. */
  #filled = 0;

  /** Begins at `offset` of the space, which must be a legal cut. The bytes before it must not be added. */
  constructor(chunkBytes: number, offset = 0) {
    this.#chunkBytes = chunkBytes;
    this.#offset = offset;
    assert(chunkBytes > 0 && chunkBytes % CHUNK_CUT_BYTES === 0, 'chunks are cut on multiples of CHUNK_CUT_BYTES');
    assert(offset % CHUNK_CUT_BYTES === 0, 'a cut lies on a multiple of CHUNK_CUT_BYTES');
  }

  /** Takes the next bytes of the current tensor and yields the chunks that they complete. */
  *add(bytes: Uint8Array): Generator<ByteChunk> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#filled === 0 && bytes.length - at >= this.#chunkBytes) {
        yield this.#advance(bytes.subarray(at, at + this.#chunkBytes));
        at += this.#chunkBytes;
        continue;
      }
      this.#partial ??= new Uint8Array(this.#chunkBytes);
      const taken = Math.min(bytes.length - at, this.#chunkBytes - this.#filled);
      this.#partial.set(bytes.subarray(at, at + taken), this.#filled);
      at += taken;
      yield* this.#fill(taken);
    }
  }

  /** Ends the current tensor: adds zeros up to the next multiple of 64 and yields the chunks that they complete. */
  *endTensor(): Generator<ByteChunk> {
    let gap = alignedBytes(this.#offset + this.#filled) - (this.#offset + this.#filled);
    while (gap > 0) {
      this.#partial ??= new Uint8Array(this.#chunkBytes);
      const taken = Math.min(gap, this.#chunkBytes - this.#filled);
      gap -= taken;
      yield* this.#fill(taken);
    }
  }

  /** Ends the space: yields the last chunk, which is shorter than the others, if bytes are left for one. */
  *end(): Generator<ByteChunk> {
    const filled = this.#filled;
    this.#filled = 0;
    if (filled > 0) yield this.#advance(this.#takePartial().subarray(0, filled));
  }

  *#fill(bytes: number): Generator<ByteChunk> {
    this.#filled += bytes;
    if (this.#filled < this.#chunkBytes) return;
    this.#filled = 0;
    yield this.#advance(this.#takePartial());
  }

  /** Takes the buffer of the finished chunk. A chunk may wait in a queue, so its buffer is never used again. */
  #takePartial(): Uint8Array {
    const partial = this.#partial;
    assert(partial !== undefined, 'a chunk in the making has a buffer');
    this.#partial = undefined;
    return partial;
  }

  #advance(data: Uint8Array): ByteChunk {
    const chunk = { offset: this.#offset, data };
    this.#offset += data.length;
    return chunk;
  }
}

/** Divides chunks among their tensors. The caller must have checked that they come in order and without gaps. */
export class ChunkScatter {
  readonly #space: ByteSpace;
  #offset = 0;
  #tensor = 0;

  constructor(space: ByteSpace) {
    this.#space = space;
  }

  /** Yields the parts of tensors in the next chunk, as views of the chunk. The zeros between tensors are left out. */
  *place(data: Uint8Array): Generator<TensorPiece> {
    const { offsets, lengths, totalBytes } = this.#space;
    const chunkBegin = this.#offset;
    const chunkEnd = chunkBegin + data.length;
    assert(chunkEnd <= totalBytes, 'chunks lie inside the byte space');
    this.#offset = chunkEnd;
    for (; this.#tensor < offsets.length; this.#tensor += 1) {
      const tensorBegin = offsets[this.#tensor]!;
      const tensorEnd = tensorBegin + lengths[this.#tensor]!;
      const begin = Math.max(tensorBegin, chunkBegin);
      const end = Math.min(tensorEnd, chunkEnd);
      if (end > begin) {
        const part = data.subarray(begin - chunkBegin, end - chunkBegin);
        yield { tensor: this.#tensor, begin: begin - tensorBegin, data: part };
      }
      if (tensorEnd > chunkEnd) return;
    }
  }
}

assert(ALIGNMENT_BYTES % CHUNK_CUT_BYTES === 0, 'a byte space ends where a cut may fall');
