// Encodes each chunk, with gRPC's prefix, into memory that is used again for the next one. protobufjs and gRPC would copy a
// chunk into two new buffers, and V8 marks a small heap once for about every fifteen MiB of those: docs/decisions/0002.
import type { Client, experimental } from '@grpc/grpc-js';
import { type ByteChunk, frameUpdateChunk, shadowWeightsDefinition, type UpdateRequest } from '../protocol/index.js';

/** compressed (0: no) | length of the message, 4 bytes, big-endian */
const PREFIX_BYTES = 5;

/** Memory is taken in multiples of this. A later chunk of the same length needs a few bytes more, for a larger offset. */
const MEMORY_STEP_BYTES = 4_096;

/** The memory of one stream's frames. It keeps one piece, because gRPC gives HTTP/2 one message of a stream at a time. */
export class ChunkMemory {
  #idle: Buffer | undefined;

  /** Returns memory of at least this length that no frame uses. */
  take(bytes: number): Buffer {
    const idle = this.#idle;
    this.#idle = undefined;
    if (idle !== undefined && idle.length >= bytes) return idle;
    return Buffer.allocUnsafeSlow(Math.ceil(bytes / MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES);
  }

  /** Takes back memory whose frame has been written. */
  giveBack(memory: Buffer): void {
    this.#idle = memory;
  }
}

/** A chunk of a step, ready to be encoded. */
export interface StepChunk extends ByteChunk {
  readonly step: number;
  readonly crc32c?: number;
}

/** A message for gRPC. It is only a view of its data until gRPC sends it, then also a frame in the stream's memory. */
export class OutgoingChunk {
  readonly #chunk: StepChunk;
  readonly #memory: ChunkMemory;
  #taken: Buffer | undefined;

  constructor(chunk: StepChunk, memory: ChunkMemory) {
    this.#chunk = chunk;
    this.#memory = memory;
  }

  /** Encodes the chunk as an UpdateRequest behind gRPC's prefix. The frame must not change before `written`. */
  frame(): Buffer {
    const { step, offset, data, crc32c } = this.#chunk;
    const fields = { offset, dataBytes: data.length, withCrc32c: crc32c !== undefined };
    let framed: Buffer | undefined;
    const chunk = frameUpdateChunk(step, fields, (bytes) => {
      this.#taken = this.#memory.take(PREFIX_BYTES + bytes);
      framed = this.#taken.subarray(0, PREFIX_BYTES + bytes);
      framed[0] = 0;
      framed.writeUInt32BE(bytes, 1);
      return framed.subarray(PREFIX_BYTES);
    });
    chunk.data.set(data);
    if (crc32c !== undefined) chunk.setCrc32c(crc32c);
    return framed!;
  }

  /** Tells that HTTP/2 has written the frame, so that its memory can be used again. */
  written(): void {
    if (this.#taken !== undefined) this.#memory.giveBack(this.#taken);
    this.#taken = undefined;
  }
}

const { requestSerialize } = shadowWeightsDefinition.Update;

/** The service's methods. A chunk that is written to Update passes its serializer as it is, for `passChunks`. */
export const chunkPassingDefinition = {
  ...shadowWeightsDefinition,
  Update: {
    ...shadowWeightsDefinition.Update,
    requestSerialize: (message: UpdateRequest | OutgoingChunk) =>
      message instanceof OutgoingChunk ? (message as unknown as Buffer) : requestSerialize(message),
  },
};

type Filter = experimental.Filter;

/** A private part of a grpc-js channel: the filters of its messages. The last one copies a message behind its prefix. */
interface ChannelInternals {
  readonly internalChannel: {
    readonly filterStackFactory: { readonly factories: experimental.FilterFactory<Filter>[] };
  };
}

/** Lets HTTP/2 write the frames of a client's chunks. If grpc-js changes the private part, every push fails. */
export function passChunks(client: Client): void {
  const { factories } = (client.getChannel() as unknown as ChannelInternals).internalChannel.filterStackFactory;
  const prefixing = factories.pop()!;
  factories.push({
    createFilter: () => {
      const filter = prefixing.createFilter();
      const prefix = filter.sendMessage.bind(filter);
      filter.sendMessage = async (sent) => {
        const { message, ...rest } = await sent;
        return (message as unknown) instanceof OutgoingChunk
          ? { ...rest, message: (message as unknown as OutgoingChunk).frame() }
          : await prefix(sent);
      };
      return filter;
    },
  });
}
