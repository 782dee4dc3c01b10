import { constants } from 'node:buffer';
import { CHUNK_BYTES, crc32c, ShadowkeepError } from '../common/index.js';
import {
  ChunkScatter,
  type GetShadowRequest,
  type GetShadowResponse__Output,
  layOut,
  type ShadowChunk__Output,
  type ShadowWeightsClient,
} from '../wire/index.js';
import { ClientError, protocolError } from './errors.js';
import { toShadowHeader } from './messages.js';
import { ResponseReader } from './response-reader.js';
import type { ReadOptions, Shadow, ShadowHeader, ShadowPiece, ShadowRead } from './types.js';

/** Starts a read and waits for its header; the bytes follow as they are asked for. */
export async function readShadow(
  stub: ShadowWeightsClient,
  options: ReadOptions,
  checksums: boolean,
): Promise<ShadowRead> {
  const reader = new ResponseReader(stub.GetShadow(toRequest(options, checksums)), options.signal);
  try {
    const first = await reader.next();
    if (first?.message !== 'header' || !first.header) throw protocolError('a read that does not begin with its header');
    const header = toShadowHeader(first.header);
    const chunks = readChunks(reader, header, checksums);
    return { header, chunks, pieces: scatter(header, chunks), cancel: () => reader.cancel() };
  } catch (error) {
    reader.cancel();
    throw error;
  }
}

/** Reads a shadow into memory: each chunk is copied once, straight to its place. */
export async function getShadow(stub: ShadowWeightsClient, options: ReadOptions, checksums: boolean): Promise<Shadow> {
  const read = await readShadow(stub, options, checksums);
  const { tensors, ...version } = read.header;
  if (version.totalBytes > constants.MAX_LENGTH) {
    read.cancel();
    throw new ClientError(
      'RESOURCE_EXHAUSTED',
      `the shadow has ${version.totalBytes} bytes, a buffer of this Node has at most ${constants.MAX_LENGTH}: ` +
        'read it in parts by `names`, or in pieces with `readShadow`',
    );
  }
  const buffer = new Uint8Array(version.totalBytes);
  for await (const { offset, data } of read.chunks) buffer.set(data, offset);
  return {
    ...version,
    tensors: new Map(
      tensors.map(({ name, dtype, shape, averaged, offset, bytes }) => [
        name,
        { dtype, shape, averaged, data: buffer.subarray(offset, offset + bytes) },
      ]),
    ),
  };
}

function toRequest(options: ReadOptions, checksums: boolean): GetShadowRequest {
  const { step, minStep } = options;
  if (step !== undefined && minStep !== undefined) {
    throw new ShadowkeepError('INVALID_FIELD', `step ${step} and minStep ${minStep} exclude each other`, {
      metadata: { field: 'step' },
    });
  }
  const { sigmaRel, gamma } = options;
  if (sigmaRel !== undefined && gamma !== undefined) {
    throw new ShadowkeepError('INVALID_FIELD', `sigmaRel ${sigmaRel} and gamma ${gamma} exclude each other`, {
      metadata: { field: 'sigma_rel' },
    });
  }
  return {
    run: options.run,
    average: options.average ?? '',
    ...(sigmaRel === undefined ? {} : { sigma_rel: sigmaRel }),
    ...(gamma === undefined ? {} : { gamma }),
    ...(step === undefined ? {} : { step }),
    ...(minStep === undefined ? {} : { min_step: minStep }),
    wait_ms: options.waitMs ?? 0,
    names: [...(options.names ?? [])],
    dtype: options.dtype ?? 'DTYPE_UNSPECIFIED',
    chunk_bytes: CHUNK_BYTES,
    checksums,
  };
}

type Chunks = AsyncGenerator<{ offset: number; data: Uint8Array }, void, undefined>;

/** The chunks of a read, proved to be the whole byte space: gapless from 0 to its end, and ended by the server. */
async function* readChunks(
  reader: ResponseReader<GetShadowResponse__Output>,
  header: ShadowHeader,
  checksums: boolean,
): Chunks {
  let received = 0;
  let isEnded = false;
  for await (const response of reader) {
    if (isEnded) throw protocolError('a message after the end of a read');
    if (response.message === 'chunk' && response.chunk) {
      const { chunk } = response;
      checkChunk(chunk, received, header.totalBytes, checksums);
      received += chunk.data.length;
      yield { offset: chunk.offset, data: chunk.data };
    } else if (response.message === 'end') {
      if (received !== header.totalBytes) throw incomplete(received, header.totalBytes);
      isEnded = true;
    } else {
      throw protocolError(`${response.message ?? 'an empty message'} in the middle of a read`);
    }
  }
  if (!isEnded) throw incomplete(received, header.totalBytes, ' without its end');
}

function checkChunk(chunk: ShadowChunk__Output, received: number, totalBytes: number, checksums: boolean): void {
  const { offset, data } = chunk;
  if (offset !== received) throw protocolError(`a chunk at byte ${offset} where ${received} was due`);
  if (offset + data.length > totalBytes) throw protocolError(`a chunk past the end of ${totalBytes} bytes`);
  if (!checksums) return;
  if (chunk.crc32c === undefined) throw protocolError(`the chunk at byte ${offset} came without its checksum`);
  const computed = crc32c(data);
  if (computed !== chunk.crc32c) {
    throw new ShadowkeepError(
      'CRC_MISMATCH',
      `the chunk at byte ${offset} has crc32c ${hex(computed)}, its sender computed ${hex(chunk.crc32c)}`,
      { metadata: { offset } },
    );
  }
}

async function* scatter(header: ShadowHeader, chunks: Chunks): AsyncGenerator<ShadowPiece, void, undefined> {
  const { tensors } = header;
  const cursor = new ChunkScatter(layOut(tensors.map((tensor) => tensor.bytes)));
  for await (const { data } of chunks) {
    for (const piece of cursor.take(data)) {
      yield { tensor: tensors[piece.tensor]!, begin: piece.begin, data: piece.data };
    }
  }
}

function incomplete(received: number, totalBytes: number, how = ''): ClientError {
  return new ClientError('DATA_LOSS', `the read ended after ${received} of ${totalBytes} bytes${how}`);
}

function hex(crc: number): string {
  return `0x${crc.toString(16).padStart(8, '0')}`;
}
