import { varintBytes, writeVarint } from './protobuf-fields.js';

/*
 * Writes the two messages that carry tensor bytes by hand, so that the bytes are copied only once, into memory that the
 * sender chooses. The generated encoder allocates each message and copies the bytes once more. The fields are those of
 * types.proto:
 *
 *   0x12 varint(inner length)                UpdateRequest.chunk = 2       GetShadowResponse.chunk = 2
 *     tag varint(number), for each number      Chunk.step = 1, offset = 2    ShadowChunk.offset = 1
 *     tag crc32c, 4 bytes little-endian        Chunk.crc32c = 3              ShadowChunk.crc32c = 2, where asked for
 *     0x7a varint(data length) data            Chunk.data = 15               ShadowChunk.data = 15
 */
const TAG_CHUNK = 0x12;
const TAG_DATA = 0x7a;
const CRC32C_BYTES = 4;

interface ChunkTags {
  readonly numbers: readonly number[];
  readonly crc32c: number;
}

const UPDATE_TAGS: ChunkTags = { numbers: [0x08, 0x10], crc32c: 0x1d };
const SHADOW_TAGS: ChunkTags = { numbers: [0x08], crc32c: 0x15 };

/** An encoded message. `data` is the part of it that the caller fills; `setCrc32c` writes the checksum into it. */
export interface ChunkFrame {
  readonly message: Buffer;
  readonly data: Buffer;
  setCrc32c(value: number): void;
}

/** What a chunk says beside its data. */
export interface ChunkFields {
  readonly offset: number;
  readonly dataBytes: number;
  readonly withCrc32c: boolean;
}

/** Returns memory of exactly this length. The message will fill it. */
type Allocate = (bytes: number) => Buffer;

/** Writes an UpdateRequest with a chunk of a step. The caller must fill all of `data`. */
export function frameUpdateChunk(step: number, fields: ChunkFields, allocate: Allocate): ChunkFrame {
  return frameChunk(UPDATE_TAGS, [step, fields.offset], fields, allocate);
}

/** Writes a GetShadowResponse with a chunk into new memory. The caller must fill all of `data`. */
export function frameShadowChunk(fields: ChunkFields): ChunkFrame {
  return frameChunk(SHADOW_TAGS, [fields.offset], fields, Buffer.allocUnsafeSlow);
}

function frameChunk(tags: ChunkTags, numbers: readonly number[], fields: ChunkFields, allocate: Allocate): ChunkFrame {
  const { dataBytes, withCrc32c } = fields;
  let innerBytes = (withCrc32c ? 1 + CRC32C_BYTES : 0) + 1 + varintBytes(dataBytes) + dataBytes;
  for (const number of numbers) innerBytes += 1 + varintBytes(number);
  const message = allocate(1 + varintBytes(innerBytes) + innerBytes);
  message[0] = TAG_CHUNK;
  let at = writeVarint(message, 1, innerBytes);
  for (const [index, tag] of tags.numbers.entries()) {
    message[at++] = tag;
    at = writeVarint(message, at, numbers[index] ?? 0);
  }
  const crcAt = at + 1;
  if (withCrc32c) {
    message[at] = tags.crc32c;
    at = crcAt + CRC32C_BYTES;
  }
  message[at++] = TAG_DATA;
  at = writeVarint(message, at, dataBytes);
  return { message, data: message.subarray(at), setCrc32c: (value) => message.writeUInt32LE(value, crcAt) };
}
