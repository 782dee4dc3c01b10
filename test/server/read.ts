import type { GetShadowRequest } from '../../src/protocol/gen/shadowkeep/v1/GetShadowRequest.js';
import type { ShadowHeader__Output } from '../../src/protocol/gen/shadowkeep/v1/ShadowHeader.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';

export interface ReadResult {
  readonly header: ShadowHeader__Output;
  readonly bytes: Buffer;
}

export async function read(client: ShadowWeightsClient, request: GetShadowRequest = {}): Promise<ReadResult> {
  const stream = client.getShadow({ run: 'r', ...request });
  let header: ShadowHeader__Output | undefined;
  let hasEnded = false;
  const parts: Buffer[] = [];
  for await (const message of stream) {
    if (message.header) header = message.header;
    if (message.chunk) parts.push(message.chunk.data);
    if (message.end) hasEnded = true;
  }
  if (header === undefined || !hasEnded) throw new Error('the answer is not whole');
  return { header, bytes: Buffer.concat(parts) };
}

/** The byte space of float32 tensors, each padded to a multiple of 64 bytes. */
export function f32Space(...tensors: number[][]): Buffer {
  return Buffer.concat(
    tensors.map((values) => {
      const padded = Buffer.alloc(Math.ceil((values.length * 4) / 64) * 64);
      values.forEach((value, index) => {
        padded.writeFloatLE(value, index * 4);
      });
      return padded;
    }),
  );
}

export function f32Values(bytes: Buffer, count: number, offset = 0): number[] {
  return Array.from({ length: count }, (_, index) => bytes.readFloatLE(offset + index * 4));
}
