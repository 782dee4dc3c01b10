import { constants } from 'node:buffer';
import { ChunkScatter, layOut } from '../protocol/index.js';
import { ClientError, protocolError } from './errors.js';
import { toReadRequest } from './read-request.js';
import type { ReadOptions, Shadow, ShadowHeader, ShadowPart, ShadowPiece, ShadowRead } from './read-types.js';
import { type Chunk, type ReadCalls, ShadowStream } from './shadow-stream.js';

/** Starts a read and waits for its header. The bytes follow as the caller asks for them. */
export async function readShadow(calls: ReadCalls, options: ReadOptions): Promise<ShadowRead> {
  const { run, boxes = [], signal } = options;
  signal?.throwIfAborted();
  const tensors = boxes.length === 0 ? [] : await calls.tensorsOf(run);
  const stream = new ShadowStream(calls, toReadRequest(options, tensors, calls.checksums), options);
  try {
    const header = await stream.open();
    checkBoxes(header, options);
    const chunks = stream.chunks();
    return { header, chunks, pieces: scatter(header, chunks), cancel: () => stream.cancel() };
  } catch (error) {
    stream.cancel();
    throw error;
  }
}

/** Reads a shadow into memory. Each chunk is copied once, straight to its place. */
export async function getShadow(calls: ReadCalls, options: ReadOptions): Promise<Shadow> {
  const read = await readShadow(calls, options);
  const { tensors, ...version } = read.header;
  if (version.totalBytes > constants.MAX_LENGTH) {
    read.cancel();
    throw new ClientError(
      'RESOURCE_EXHAUSTED',
      `the shadow has ${version.totalBytes} bytes, a buffer of this Node has at most ${constants.MAX_LENGTH}: ` +
        'read it in parts by `names` or `boxes`, or in pieces with `readShadow`',
    );
  }
  const buffer = new Uint8Array(version.totalBytes);
  for await (const { offset, data } of read.chunks) buffer.set(data, offset);
  const parts = tensors.map(({ offset, bytes, ...tensor }): ShadowPart => {
    return { ...tensor, data: buffer.subarray(offset, offset + bytes) };
  });
  return { ...version, tensors: byName(parts), parts };
}

/** The parts by the name of their tensor, without tensors that have several parts. */
function byName(parts: readonly ShadowPart[]): Map<string, ShadowPart> {
  const named = new Map(parts.map((part) => [part.name, part]));
  if (named.size === parts.length) return named;
  const seen = new Set<string>();
  for (const { name } of parts) {
    if (seen.has(name)) named.delete(name);
    seen.add(name);
  }
  return named;
}

/**
 * Checks that a read has the tensors that its boxes named. Boxes name tensors by index, and a run that was deleted and
 * created anew after its layout was looked up may have other tensors there.
 */
function checkBoxes({ tensors }: ShadowHeader, { boxes = [] }: ReadOptions): void {
  if (boxes.length === 0) return;
  const isSame = tensors.length === boxes.length && boxes.every((box, index) => tensors[index]!.name === box.tensor);
  if (!isSame) throw protocolError('the read is of other tensors than those of its boxes');
}

async function* scatter(
  { tensors }: ShadowHeader,
  chunks: AsyncIterable<Chunk>,
): AsyncGenerator<ShadowPiece, void, undefined> {
  const cursor = new ChunkScatter(layOut(tensors.map((tensor) => tensor.bytes)));
  for await (const { data } of chunks) {
    for (const piece of cursor.place(data)) {
      yield { tensor: tensors[piece.tensor]!, begin: piece.begin, data: piece.data };
    }
  }
}
