import { CHUNK_BYTES, crc32c } from '../common/index.js';
import { type ByteChunk, ChunkCutter, type Commit } from '../wire/index.js';
import { ClientError, toFailure } from './errors.js';
import { readTensor, type SentLayout, viewTensors } from './step-source.js';
import type { Ack, PendingStep, TensorBytes, TensorReader } from './types.js';
import type { UpdateStream } from './update-stream.js';

/** What the service said when the run was opened. */
export interface OpenedRun {
  run: string;
  generation: number;
  created: boolean;
  committedStep: number | undefined;
  /** Length of one step of this writer, bytes: without the tensors that are sent once, and with them. */
  stepBytes: number;
  firstStepBytes: number;
}

type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * A run that this process writes. Steps are sent one after another in the order of the calls, as fast as the service
 * takes them. When one fails the stream is over: that step, every later one and `flush` reject with the service's
 * error. Opening the run again goes on; a step that was acknowledged is not folded twice.
 */
export class RunHandle {
  readonly run: string;
  /** Fencing token of this trainer. */
  readonly generation: number;
  /** Whether opening it created the run. */
  readonly created: boolean;
  /** Bytes of one step on the wire, without the tensors of policy COPY_ONCE. */
  readonly stepBytes: number;
  readonly #firstStepBytes: number;
  readonly #stream: UpdateStream;
  readonly #layout: SentLayout;
  readonly #checksums: boolean;
  #lastCommitted: number | undefined;
  /** Settles when the step before has been sent, well or not. */
  #previous: Promise<void> = Promise.resolve();
  readonly #unacknowledged = new Set<Promise<Ack>>();
  #closing: Promise<void> | undefined;

  /** Made by `ShadowkeepClient.openRun`. */
  constructor(opened: OpenedRun, stream: UpdateStream, layout: SentLayout, checksums: boolean) {
    this.#stream = stream;
    this.#layout = layout;
    this.#checksums = checksums;
    this.run = opened.run;
    this.generation = opened.generation;
    this.created = opened.created;
    this.stepBytes = opened.stepBytes;
    this.#firstStepBytes = opened.firstStepBytes;
    this.#lastCommitted = opened.committedStep;
  }

  /** The newest step that readers can see, as far as this writer has heard; undefined before the first commit. */
  get committedStep(): number | undefined {
    return this.#lastCommitted;
  }

  /**
   * Sends the weights before the first update: shadows are assigned, nothing is folded. Averages that start INITIAL
   * need it. Otherwise as `update`.
   */
  pushInitial(step: number, tensors: TensorBytes | TensorReader): PendingStep {
    return this.#push(step, tensors, true);
  }

  /**
   * Sends a step to be folded. Steps may skip but never fall. Throws at once when a tensor is missing, unknown or of
   * the wrong length. `sent` resolves when the tensors may be changed again, the step itself when it is acknowledged;
   * a caller that waits for `sent` before the next step holds one step at a time.
   */
  update(step: number, tensors: TensorBytes | TensorReader): PendingStep {
    return this.#push(step, tensors, false);
  }

  /**
   * Tells the service that the optimizer skipped this step, as a gradient scaler does: readers see the step, the averages
   * stay. Sends no weights. Otherwise as `update`.
   */
  skip(step: number): PendingStep {
    return this.#enqueue(() => this.#commit(step, { step, bytes: 0, skipped: true }));
  }

  /** Waits until every step is acknowledged; rejects with the failure that ended the stream. */
  async flush(): Promise<void> {
    await Promise.all(this.#unacknowledged);
    this.#stream.throwIfFailed();
  }

  /** Waits until every step is acknowledged and ends the stream. The run stays. */
  close(): Promise<void> {
    this.#closing ??= this.flush().then(() => this.#stream.close());
    return this.#closing;
  }

  /** Ends the stream at once. A step that is not committed yet leaves no trace. */
  abort(): void {
    this.#stream.cancel(new ClientError('CANCELLED', 'the stream was aborted by its client'));
  }

  #push(step: number, tensors: TensorBytes | TensorReader, initial: boolean): PendingStep {
    // Until a step is known to be committed each may be the first.
    const isFirst = this.#lastCommitted === undefined;
    const sources = this.#toSources(tensors, isFirst);
    const bytes = isFirst ? this.#firstStepBytes : this.stepBytes;
    return this.#enqueue(() => this.#send(sources, { step, bytes, initial }));
  }

  #enqueue(send: () => Promise<{ ack: Promise<Ack> }>): PendingStep {
    if (this.#closing !== undefined) throw new ClientError('FAILED_PRECONDITION', 'the run handle is closed');
    const commit = this.#previous.then(send);
    const sent = commit.then(() => {});
    this.#previous = sent.catch(() => {});
    const acked = commit.then(({ ack }) => ack);
    // Whoever looks at neither hears of the failure from flush() or the next step.
    acked.catch(() => {});
    this.#unacknowledged.add(acked);
    acked
      .then((ack) => this.#noteAck(ack))
      .catch(() => {})
      .finally(() => this.#unacknowledged.delete(acked));
    return Object.assign(acked, { sent });
  }

  #noteAck(ack: Ack): void {
    this.#lastCommitted = ack.committedStep ?? this.#lastCommitted;
  }

  /** One source of bytes for each tensor that travels. */
  #toSources(tensors: TensorBytes | TensorReader, isFirst: boolean): (() => Pieces)[] {
    const { eachStep, once } = this.#layout;
    const sent = isFirst ? [...eachStep, ...once] : eachStep;
    if (typeof tensors === 'function') return sent.map((tensor) => () => readTensor(tensor, tensors));
    return viewTensors(sent, tensors, once).map((view) => () => [view]);
  }

  /** Sends a whole step. */
  async #send(
    sources: readonly (() => Pieces)[],
    commit: { step: number; bytes: number; initial: boolean },
  ): Promise<{ ack: Promise<Ack> }> {
    const { step } = commit;
    try {
      const cutter = new ChunkCutter(CHUNK_BYTES);
      for (const pieces of sources) {
        for await (const piece of pieces()) await this.#sendChunks(step, cutter.add(piece));
        await this.#sendChunks(step, cutter.endTensor());
      }
      await this.#sendChunks(step, cutter.end());
      return await this.#commit(step, commit);
    } catch (error) {
      // The service may have a part of the step, and only a new stream can follow that.
      const failure = toFailure(error);
      this.#stream.cancel(failure);
      throw failure;
    }
  }

  /** The ack is wrapped: resolving with a promise would wait for it. */
  async #commit(step: number, commit: Commit): Promise<{ ack: Promise<Ack> }> {
    const ack = this.#stream.ack(step);
    await this.#stream.sendWhole({ commit });
    return { ack };
  }

  async #sendChunks(step: number, chunks: Iterable<ByteChunk>): Promise<void> {
    for (const { offset, data } of chunks) {
      const chunk = { step, offset, data };
      await this.#stream.send({ chunk: this.#checksums ? { ...chunk, crc32c: crc32c(data) } : chunk });
    }
  }
}
