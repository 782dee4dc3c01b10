import { alignedBytes, CHUNK_CUT_BYTES, crc32c, createWaiter, type Waiter } from '../common/index.js';
import { type ByteChunk, ChunkCutter, type Commit, checkMessage } from '../protocol/index.js';
import { ClientError, protocolError } from './errors.js';
import { type PartSource, skipBytes } from './step-source.js';
import type { Ack } from './types.js';
import type { UpdateStream } from './update-stream.js';

/** How steps are cut into chunks. */
export interface ChunkOptions {
  readonly checksums: boolean;
  /** The chunk size that the service suggests, bytes. */
  readonly chunkBytes: number;
}

/** The message that ends a step. */
export type StepCommit = Commit & { readonly step: number; readonly bytes: number };

/** A step that is not acknowledged yet. It knows how to send its bytes from any offset on, and who waits for it. */
export class OutgoingStep {
  readonly commit: StepCommit;
  readonly ack: Waiter<Ack> = createWaiter();
  readonly #sources: readonly PartSource[];
  /** Resolves when the tensors may change; undefined while nobody has asked for `sent`. */
  #sent: Waiter<void> | undefined;
  /** How many bytes of the step the service has, as far as is known. */
  #offset = 0;
  #state: 'waiting' | 'begun' | 'committed' | 'sent' = 'waiting';

  /** Throws INVALID_FIELD for a commit that would not arrive as it is, such as one of a step that is no integer. */
  constructor(commit: StepCommit, sources: readonly PartSource[]) {
    checkMessage('Commit', commit);
    this.commit = commit;
    this.#sources = sources;
  }

  get step(): number {
    return this.commit.step;
  }

  /** Whether sending has begun, so that the service may have some of the step. */
  get hasBegun(): boolean {
    return this.#state !== 'waiting';
  }

  /** Whether the step's commit has been given to the stream, so that its ack may come. */
  get isCommitted(): boolean {
    return this.#state === 'committed' || this.#state === 'sent';
  }

  /** Whether the whole step has been read from its tensors and is on its way to the service or there. */
  get isSent(): boolean {
    return this.#state === 'sent';
  }

  /**
   * Resolves when the tensors may change. After somebody has asked for it, lost bytes of the step cannot be read again.
   */
  get sent(): Promise<void> {
    if (this.#sent === undefined) {
      this.#sent = createWaiter();
      if (this.isSent) this.#sent.resolve();
      else this.ack.promise.catch((failure) => this.#sent?.reject(failure));
    }
    return this.#sent.promise;
  }

  /** Sends the bytes that the service does not have, then the commit. */
  async transmit(stream: UpdateStream, { checksums, chunkBytes }: ChunkOptions): Promise<void> {
    this.#state = 'begun';
    const cutter = new ChunkCutter(chunkBytes, this.#offset);
    let begin = 0;
    for (const source of this.#sources) {
      const skipped = Math.max(0, this.#offset - begin);
      begin += alignedBytes(source.bytes);
      if (begin <= this.#offset) continue;
      const pieces = skipped === 0 ? source.read() : skipBytes(source.read(), skipped);
      for await (const piece of pieces) await this.#sendChunks(stream, cutter.add(piece), checksums);
      await this.#sendChunks(stream, cutter.endTensor(), checksums);
    }
    await this.#sendChunks(stream, cutter.end(), checksums);
    this.#state = 'committed';
    await stream.sendWhole({ commit: this.commit });
    this.arrived();
  }

  /** Says that the whole step is on its way or at the service, so that its ack will come. */
  arrived(): void {
    this.#state = 'sent';
    this.#sent?.resolve();
  }

  /**
   * Sets where the step goes on after a break: the service has `receivedBytes` of it. Throws when more bytes are needed
   * and somebody has been told, by `sent`, that the tensors may change.
   */
  goOnFrom(receivedBytes: number): void {
    const { step, bytes } = this.commit;
    if (receivedBytes > bytes || receivedBytes % CHUNK_CUT_BYTES !== 0) {
      throw protocolError(`it has ${receivedBytes} bytes of step ${step}, which has ${bytes}`);
    }
    if (this.isSent && this.#sent !== undefined && receivedBytes < bytes) {
      throw new ClientError(
        'UNAVAILABLE',
        `step ${step} is lost: the connection broke when ${receivedBytes} of its ${bytes} bytes had arrived, ` +
          'and its tensors may have changed since they were sent',
        { metadata: { step: String(step) } },
      );
    }
    this.#offset = receivedBytes;
    this.#state = 'begun';
  }

  async #sendChunks(stream: UpdateStream, chunks: Iterable<ByteChunk>, checksums: boolean): Promise<void> {
    const { step } = this.commit;
    for (const { offset, data } of chunks) {
      const chunk = { step, offset, data };
      await stream.sendChunk(checksums ? { ...chunk, crc32c: crc32c(data) } : chunk);
    }
  }
}
