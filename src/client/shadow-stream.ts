import { crc32c, ShadowkeepError } from '../common/index.js';
import type {
  GetShadowRequest,
  GetShadowResponse__Output,
  ShadowChunk__Output,
  ShadowHeader__Output,
  ShadowWeightsClient,
} from '../protocol/index.js';
import { Backoff } from './backoff.js';
import { ClientError, type Failure, isDisconnect, protocolError } from './errors.js';
import { toShadowHeader } from './messages.js';
import { toResumeRequest } from './read-request.js';
import type { ReadOptions, ShadowHeader } from './read-types.js';
import { ResponseReader } from './response-reader.js';
import type { TensorSpec } from './types.js';

/** The parts of the client that a read needs. */
export interface ReadCalls {
  readonly checksums: boolean;
  /** The service's stub. Throws when the client is closed. */
  stub(): ShadowWeightsClient;
  /** The tensors of a run, in the order by which boxes name them. */
  tensorsOf(run: string): Promise<readonly TensorSpec[]>;
  /** Makes a call, again and again while the service is not there. */
  begin<Answer>(call: () => Promise<Answer>, options: Pick<ReadOptions, 'reconnect' | 'signal'>): Promise<Answer>;
}

export type Chunk = { readonly offset: number; readonly data: Uint8Array };

/** One read, on as many calls as it takes. After a break it goes on in the same version, from the byte that was due. */
export class ShadowStream {
  readonly #calls: ReadCalls;
  readonly #request: GetShadowRequest;
  readonly #reconnect: ReadOptions['reconnect'];
  readonly #backoff: Backoff | undefined;
  readonly #ending = new AbortController();
  /** Aborts when `cancel` is called or the caller's signal aborts. */
  readonly #signal: AbortSignal;
  #reader: ResponseReader<GetShadowResponse__Output> | undefined;
  #header: ShadowHeader | undefined;
  #receivedBytes = 0;

  constructor(calls: ReadCalls, request: GetShadowRequest, { reconnect, signal }: ReadOptions) {
    this.#calls = calls;
    this.#request = request;
    this.#signal = signal === undefined ? this.#ending.signal : AbortSignal.any([this.#ending.signal, signal]);
    this.#reconnect = reconnect;
    this.#backoff = reconnect === false ? undefined : new Backoff(reconnect ?? {});
  }

  /** Starts the read and waits for its header. The read may be started several times until a header has come. */
  async open(): Promise<ShadowHeader> {
    const options = { reconnect: this.#reconnect, signal: this.#signal };
    this.#header = await this.#calls.begin(() => this.#start(this.#request), options);
    return this.#header;
  }

  /** The chunks of the read. Throws unless they are the whole byte space without gaps and the server has ended it. */
  async *chunks(): AsyncGenerator<Chunk, void, undefined> {
    try {
      for (let chunk = await this.#next(); chunk !== undefined; chunk = await this.#next()) yield chunk;
    } finally {
      this.cancel();
    }
  }

  /** Ends the read. Does nothing when the read has ended. */
  cancel(): void {
    this.#ending.abort(new ClientError('CANCELLED', 'the read was cancelled by its client'));
  }

  /** The next chunk, or undefined when all chunks have come. */
  async #next(): Promise<Chunk | undefined> {
    for (;;) {
      try {
        return await this.#receive();
      } catch (error) {
        if (!this.#canGoOn(error)) throw error;
        // All bytes have come, and the break lost only the message that says so.
        if (this.#receivedBytes === this.#header!.totalBytes) return undefined;
        await this.#reopen(error);
      }
    }
  }

  async #receive(): Promise<Chunk | undefined> {
    const { totalBytes } = this.#header!;
    const response = await this.#reader!.next();
    if (response === undefined) throw incomplete(this.#receivedBytes, totalBytes, ' without its end');
    if (response.message === 'chunk' && response.chunk) {
      const { chunk } = response;
      checkChunk(chunk, this.#receivedBytes, totalBytes, this.#calls.checksums);
      this.#receivedBytes += chunk.data.length;
      this.#backoff?.reset();
      return { offset: chunk.offset, data: chunk.data };
    }
    if (response.message !== 'end') throw protocolError(`${nameOf(response)} in the middle of a read`);
    if (this.#receivedBytes !== totalBytes) throw incomplete(this.#receivedBytes, totalBytes);
    if ((await this.#reader!.next()) !== undefined) throw protocolError('a message after the end of a read');
    return undefined;
  }

  /** Tries to go on with the read after a break, until the deadline. */
  async #reopen(broken: Failure): Promise<void> {
    const { version, totalBytes } = this.#header!;
    let failure = broken;
    for (;;) {
      await this.#backoff?.wait(failure, this.#signal);
      try {
        const header = await this.#start(toResumeRequest(this.#request, version, this.#receivedBytes));
        this.#backoff?.connected();
        if (header.version === version && header.totalBytes === totalBytes) return;
        throw protocolError(`a read of version ${version} went on in version ${header.version}`);
      } catch (error) {
        if (!this.#canGoOn(error)) throw error;
        failure = error;
      }
    }
  }

  async #start(request: GetShadowRequest): Promise<ShadowHeader> {
    const reader = new ResponseReader(this.#calls.stub().GetShadow(request), this.#signal);
    this.#reader = reader;
    try {
      const first = await reader.next();
      if (first?.message !== 'header' || !first.header)
        throw protocolError('a read that does not begin with its header');
      return toShadowHeader(await withAllTensors(first.header, reader));
    } catch (error) {
      reader.cancel();
      throw error;
    }
  }

  #canGoOn(error: unknown): error is Failure {
    if (this.#backoff === undefined || this.#signal.aborted) return false;
    return (error instanceof ShadowkeepError || error instanceof ClientError) && isDisconnect(error);
  }
}

/** Adds to a header the tensors that did not fit into it and come in messages of their own. */
async function withAllTensors(
  header: ShadowHeader__Output,
  reader: ResponseReader<GetShadowResponse__Output>,
): Promise<ShadowHeader__Output> {
  const { tensors, tensor_count: count } = header;
  while (tensors.length < count) {
    const response = await reader.next();
    if (response?.message !== 'tensors' || !response.tensors?.tensors.length) {
      throw protocolError(`a header of ${count} tensors that ends after ${tensors.length}`);
    }
    tensors.push(...response.tensors.tensors);
  }
  return header;
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

function nameOf(response: GetShadowResponse__Output): string {
  return response.message ?? 'an empty message';
}

function incomplete(received: number, totalBytes: number, how = ''): ClientError {
  return new ClientError('DATA_LOSS', `the read ended after ${received} of ${totalBytes} bytes${how}`);
}

function hex(crc: number): string {
  return `0x${crc.toString(16).padStart(8, '0')}`;
}
