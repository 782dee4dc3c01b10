import { assert, createWaiter, type ShadowkeepError, toEnd } from '../../common/index.js';
import type { FoldAhead } from '../fold-ahead.js';
import type { Page } from '../page-pool.js';
import type { Member } from './member.js';
import type { Pipeline } from './pipeline.js';
import { StagedStep } from './staged-step.js';

/** One stream of a writer: from its opening to its end, or to the error that ended it from outside. */
export class Writer {
  readonly number: number;
  readonly generation: number;
  readonly #ready = createWaiter<void>();
  #member: Member | undefined;
  #pipeline: Pipeline | undefined;
  #failure: ShadowkeepError | undefined;
  #isOpen = true;
  readonly #onFailure: (error: ShadowkeepError) => void;

  constructor(number: number, generation: number, onFailure: (error: ShadowkeepError) => void) {
    this.number = number;
    this.generation = generation;
    this.#onFailure = onFailure;
  }

  /** Settles when all writers have declared: resolves when their boxes are a whole. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** All writers have declared. */
  begin(member: Member, pipeline: Pipeline): void {
    this.#member = member;
    this.#pipeline = pipeline;
    member.stream = this;
    this.#ready.resolve();
  }

  get isReady(): boolean {
    return this.#member !== undefined;
  }

  get member(): Member {
    assert(this.#member !== undefined, 'a writer is ready when it is used');
    return this.#member;
  }

  /** Length of its step, bytes, without the tensors of policy COPY_ONCE, and with them. */
  get stepBytes(): number {
    return this.member.part.stepBytes;
  }

  get firstStepBytes(): number {
    return this.member.part.firstStepBytes;
  }

  /** The step being received, if one has begun. */
  get step(): number | undefined {
    return this.#member?.receiving?.step;
  }

  get receivedBytes(): number {
    return this.#member?.receivedBytes ?? 0;
  }

  /** Where the step being received is staged; undefined: nowhere. */
  get pages(): readonly Page[] {
    return this.#staged?.pages ?? [];
  }

  /** Folds the step being received as it arrives, where that is possible. */
  get ahead(): FoldAhead | undefined {
    return this.#staged?.ahead;
  }

  /** Throws what ended this stream from outside (a newer generation, the run's deletion), if anything did. */
  checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    assert(this.#isOpen, 'a closed writer is not used');
  }

  /**
   * Takes the next chunk of a step, or refuses it whole, before a byte is staged. Yields between slices: throws what has ended
   * the stream meanwhile.
   */
  *staging(step: number, offset: number, data: Uint8Array): Generator<void> {
    this.checkOpen();
    assert(this.#pipeline !== undefined, 'a writer is ready when it is used');
    for (const slice of this.#pipeline.stage(this.member, step, offset, data)) {
      yield slice;
      this.checkOpen();
    }
  }

  /** The same in one go. */
  stage(step: number, offset: number, data: Uint8Array): void {
    toEnd(this.staging(step, offset, data));
  }

  /**
   * It will not send its part of the steps up to `through` that it has not sent: they are dropped for all. Only `whenSettled`,
   * and when all that it has sent is decided.
   */
  lose(through: number): void {
    this.checkOpen();
    assert(this.#pipeline !== undefined, 'a writer is ready when it is used');
    this.#pipeline.lose(this.member, through);
  }

  /** Ends it from outside: its owner is told why. */
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
    if (this.#member?.stream === this) this.#member.stream = undefined;
  }

  get #staged(): StagedStep<Member> | undefined {
    const sink = this.#member?.receiving?.sink;
    return sink instanceof StagedStep ? sink : undefined;
  }
}
