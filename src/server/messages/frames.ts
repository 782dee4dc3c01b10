import { varintBytes, writeVarint } from '../../protocol/index.js';

/*
 * A GetShadowResponse that carries a chunk, written by hand so that the tensor bytes are copied once, from the arena
 * into the message (types.proto; the generated encoder would copy them once more):
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

/** An encoded message and the view where its data and checksum go. */
export interface ChunkFrame {
  readonly message: Buffer;
  readonly data: Buffer;
  setCrc32c(value: number): void;
}

/** Allocates the message for `dataBytes` of data at `offset`; the caller fills `data`, all of it. */
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
