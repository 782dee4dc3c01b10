import { varintBytes, writeVarint } from '../../protocol/index.js';

/*
 * Writes a GetShadowResponse with a chunk by hand, so that the tensor's bytes are copied only once, from the arena into the
 * message. The generated encoder would copy them once more. The fields are those of types.proto:
 *
 *   0x12 varint(inner length)              GetShadowResponse.chunk = 2
 *     0x08 varint(offset)                    ShadowChunk.offset = 1
 *     0x15 crc32c, 4 bytes little-endian     ShadowChunk.crc32c = 2, where asked for
 *     0x7a varint(data length) data          ShadowChunk.data = 15
 */
const TAG_CHUNK = 0x12;
const TAG_OFFSET = 0x08;
const TAG_CRC32C = 0x15;
const TAG_DATA = 0x7a;

/** An encoded message. `data` is the part of it that the caller fills; `setCrc32c` writes the checksum into it. */
export interface ChunkFrame {
  readonly message: Buffer;
  readonly data: Buffer;
  setCrc32c(value: number): void;
}

/** Allocates the message for `dataBytes` bytes of data at `offset`. The caller must fill all of `data`. */
export function frameShadowChunk(offset: number, dataBytes: number, withCrc32c: boolean): ChunkFrame {
  const innerBytes = 1 + varintBytes(offset) + (withCrc32c ? 5 : 0) + 1 + varintBytes(dataBytes) + dataBytes;
  const message = Buffer.allocUnsafeSlow(1 + varintBytes(innerBytes) + innerBytes);
  let at = 0;
  message[at++] = TAG_CHUNK;
  at = writeVarint(message, at, innerBytes);
  message[at++] = TAG_OFFSET;
  at = writeVarint(message, at, offset);
  const crcAt = at + 1;
  if (withCrc32c) {
    message[at] = TAG_CRC32C;
    at += 5;
  }
  message[at++] = TAG_DATA;
  at = writeVarint(message, at, dataBytes);
  return { message, data: message.subarray(at), setCrc32c: (value) => message.writeUInt32LE(value, crcAt) };
}
