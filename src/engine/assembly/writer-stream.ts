import { assert, createWaiter, ShadowkeepError, toEnd } from '../../common/index.js';
import type { CommitOutcome } from '../run-spec.js';
import type { Drive, PartCommit, Pipeline } from './pipeline.js';
import type { WriterSlot } from './writer-slot.js';

/** The writers of the stream's generation. */
interface StreamOwner {
  leave(stream: WriterStream): void;
  forget(stream: WriterStream): void;
  failAll(error: ShadowkeepError): void;
}

/** One Update stream of a writer, from its opening to its end or to the error that ended it from outside. */
export class WriterStream {
  readonly number: number;
  readonly generation: number;
  readonly #owner: StreamOwner;
  readonly #ready = createWaiter<void>();
  /** Undefined: not all writers have declared yet. */
  #begun: { readonly slot: WriterSlot; readonly pipeline: Pipeline } | undefined;
  #failure: ShadowkeepError | undefined;
  #isOpen = true;
  readonly #onFailure: (error: ShadowkeepError) => void;

  constructor(number: number, generation: number, owner: StreamOwner, onFailure: (error: ShadowkeepError) => void) {
    this.number = number;
    this.generation = generation;
    this.#owner = owner;
    this.#onFailure = onFailure;
  }

  /** Settles when all writers have declared their boxes. Resolves when these boxes tile every tensor. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Says that all writers have declared their boxes, and gives the stream its slot. */
  begin(slot: WriterSlot, pipeline: Pipeline): void {
    this.#begun = { slot, pipeline };
    slot.attach(this);
    this.#ready.resolve();
  }

  get isReady(): boolean {
    return this.#begun !== undefined;
  }

  /** The boxes, by index, that the writer has declared and other writers send. */
  get leftOut(): readonly number[] {
    return this.#slot.leftOut;
  }

  /** Length of the writer's part of a step, bytes: without the tensors of policy COPY_ONCE, and with them. */
  get stepBytes(): number {
    return this.#slot.part.stepBytes;
  }

  get firstStepBytes(): number {
    return this.#slot.part.firstStepBytes;
  }

  /** The step that the writer is in the middle of; undefined between two steps. */
  get step(): number | undefined {
    return this.#begun?.slot.receiving?.step;
  }

  get receivedBytes(): number {
    return this.#begun?.slot.receivedBytes ?? 0;
  }

  /** The steps, oldest first, that the writer has sent whole and whose outcome is open. */
  get awaited(): WriterSlot['awaited'] {
    return this.#slot.awaited;
  }

  /** Whether the writer's last step still waits for the parts of other writers. */
  get waitsForOthers(): boolean {
    return this.#slot.awaited.length > 0 && !this.#pipeline.isDeciding;
  }

  /** Throws what ended this stream from outside (a newer generation, the run's deletion), if anything did. */
  checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    assert(this.#isOpen, 'a closed stream is not used');
  }

  /**
   * Returns undefined when the writer may send the step. Otherwise the step is too far ahead of what the others send: ask
   * again when the promise has resolved. Throws STEP_MISMATCH.
   */
  admission(step: number): Promise<void> | undefined {
    return this.#begun?.pipeline.admission(this.#begun.slot, step);
  }

  /**
   * Takes the next chunk of a step, or refuses it whole, before a byte is staged. Yields between slices,
   * and throws what has ended the stream in between.
   */
  *staging(step: number, partOffset: number, data: Uint8Array): Generator<void> {
    this.checkOpen();
    for (const slice of this.#pipeline.stage(this.#slot, step, partOffset, data)) {
      yield slice;
      this.checkOpen();
    }
  }

  /** Takes the next chunk of a step in one go, where nobody else waits for the loop. */
  stage(step: number, partOffset: number, data: Uint8Array): void {
    toEnd(this.staging(step, partOffset, data));
  }

  /**
   * Says that the writer's part of a step is whole. When all parts are, the step is folded into every average and the
   * version flips, all at once; the promise resolves then. `drive` runs the fold to its end, letting others run between
   * its slices. A step at or below the committed one is not folded again, one that is not finite may be refused by the
   * run's policy. Rejects with STEP_CONFLICT, which ends every stream, when all parts of a committed step have come with
   * other content.
   */
  async commit(commit: PartCommit, drive: Drive): Promise<CommitOutcome> {
    this.checkOpen();
    try {
      return await this.#pipeline.commit(this.#slot, commit, drive);
    } catch (error) {
      if (error instanceof ShadowkeepError && error.reason === 'STEP_CONFLICT') this.#owner.failAll(error);
      throw error;
    }
  }

  /**
   * Says that the writer will not send the steps up to `through` that it has not sent. They are dropped for all writers.
   * Call it only `whenSettled`, and when everything that the writer has sent is decided.
   */
  lose(through: number): void {
    this.checkOpen();
    this.#pipeline.lose(this.#slot, through);
  }

  /**
   * Says that the stream has ended. What it has sent of a step is kept until `forget`, for a writer that comes back.
   * Idempotent.
   */
  leave(): void {
    this.#owner.leave(this);
  }

  /** Frees what the stream has left behind, unless its writer came back. Call it only `whenSettled`. */
  forget(): void {
    this.#owner.forget(this);
  }

  /** Ends the stream from outside, and tells its RPC why. */
  fail(error: ShadowkeepError): void {
    if (!this.#isOpen) return;
    this.#failure = error;
    this.close();
    this.#ready.reject(error);
    this.#onFailure(error);
  }

  /** Idempotent. */
  close(): void {
    this.#isOpen = false;
    this.#begun?.slot.detach(this);
  }

  get #slot(): WriterSlot {
    assert(this.#begun !== undefined, 'a stream is ready when it is used');
    return this.#begun.slot;
  }

  get #pipeline(): Pipeline {
    assert(this.#begun !== undefined, 'a stream is ready when it is used');
    return this.#begun.pipeline;
  }
}
