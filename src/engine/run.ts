import { assert, type FloatDType, quote, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import { advanceAll, advanceAllInitial } from './advance-run.js';
import type { AverageSpec } from './averages/index.js';
import type { CommitPlan } from './commit.js';
import { FoldAhead } from './fold-ahead.js';
import type { Layout } from './layout.js';
import type { Ledger } from './ledger.js';
import { Lineage } from './lineage.js';
import type { CommitOutcome, RunMemory, RunOptions, RunSpec, RunState } from './run-spec.js';
import { RunVersions } from './run-versions.js';
import type { Reader, Version } from './version.js';
import { planWire } from './wire-plan.js';
import { Writer } from './writer.js';

/**
 * One training run: its planes, the version that readers see, the writer that fills the next one. The single writer of
 * its own state; no I/O, no clock, no randomness, so the same calls give the same bytes.
 */
export class Run {
  readonly spec: RunSpec;
  readonly #versions: RunVersions;
  readonly #lineage: Lineage;
  #nonFiniteSteps = 0;
  #writer: Writer | undefined;
  #fold: Promise<void> | undefined;
  #isDeleted = false;
  readonly #listeners = new Set<() => void>();

  /** Throws MEMORY_EXHAUSTED unless the shadows and one step in flight fit; takes the shadows' memory. */
  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions = {}) {
    this.spec = spec;
    this.#lineage = new Lineage(spec.name);
    this.#versions = new RunVersions(spec, ledger, mode, options);
  }

  get layout(): Layout {
    return this.#versions.layout;
  }

  /** Length of a step in the layout's own dtypes, bytes: without the tensors that are sent once, and with them. */
  get stepBytes(): number {
    return this.#versions.stepBytes;
  }

  get firstStepBytes(): number {
    return this.#versions.firstStepBytes;
  }

  /** The version that readers see; its step is undefined before the first commit. */
  get head(): Version {
    return this.#versions.head;
  }

  get averages(): AverageSpec[] {
    return this.head.shadows.map(({ spec }) => spec);
  }

  get committedStep(): number | undefined {
    return this.head.step;
  }

  get generation(): number {
    return this.#lineage.generation;
  }

  get isDeleted(): boolean {
    return this.#isDeleted;
  }

  get writer(): Writer | undefined {
    return this.#writer;
  }

  /** The committed versions that readers can get: the newest, then those that other readers hold. */
  get versions(): readonly Version[] {
    return this.#versions.history.versions;
  }

  /** Steps in which a value was not finite, since the run was opened or restored. */
  get nonFiniteSteps(): number {
    return this.#nonFiniteSteps;
  }

  /** The present cadence of snapshots: it doubles when there is no room. Undefined: none are kept. */
  get snapshotsEverySteps(): number | undefined {
    return this.#versions.snapshotsEverySteps;
  }

  get memory(): RunMemory {
    return this.#versions.memory(this.#writer?.stagingBytes ?? 0);
  }

  /**
   * Does `action` at a moment when no fold is under way. What pins the head, opens a writer or fences one belongs in here:
   * after an `await` of anything else, a fold may have begun.
   */
  async whenSettled<Result>(action: () => Result): Promise<Result> {
    while (this.#fold !== undefined) await this.#fold.catch(() => undefined);
    return action();
  }

  /** Calls `listener` after each commit and after the deletion; returns the way to stop that. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Holds a version for a reader; the head only `whenSettled`: a fold under way may be writing on its pages. */
  pin(version: Version): Reader {
    assert(this.#fold === undefined || version !== this.head, 'the head is not pinned while it is folded');
    return version.pin();
  }

  /**
   * The generation of one life of the trainer. A new incarnation opens a generation and fences the others: their streams
   * end, and what they had staged is freed. A known one gets its own again, or GENERATION_FENCED; an empty one takes part
   * in the present generation. Only `whenSettled`: a step that has arrived whole is not torn from its writer.
   */
  attach(incarnation: string): number {
    this.#checkSettled();
    const generation = this.#lineage.attach(incarnation);
    if (this.#writer !== undefined && this.#writer.generation < generation) {
      this.#writer.close(this.#lineage.fencedError());
      this.#writer = undefined;
    }
    return generation;
  }

  /**
   * The stream of the writer of `generation`; takes the memory of one step in `wireDType`. `onFailure` is told when the
   * writer is closed from outside: by a newer generation, or with its run.
   */
  openWriter(
    generation: number,
    wireDType: FloatDType | undefined,
    onFailure: (error: ShadowkeepError) => void,
  ): Writer {
    if (this.#isDeleted) throw this.deletedError();
    this.#lineage.check(generation);
    if (this.#writer !== undefined) {
      throw new ShadowkeepError('WRITER_BUSY', `writer 0 of run ${quote(this.spec.name)} already has a stream`);
    }
    const plan = planWire(this.layout, wireDType);
    const settings = {
      generation,
      isFirst: this.committedStep === undefined,
      nonFinite: this.spec.nonFinite,
      beginAhead: ({ pages }: Writer, step: number) => FoldAhead.begin(this.head, plan, pages.length, step),
    };
    this.#writer = new Writer(this.#versions.pool, plan, this.head.shadows[0]?.plane, settings, onFailure);
    return this.#writer;
  }

  /** Idempotent; a writer that was fenced is closed already. */
  closeWriter(writer: Writer): void {
    writer.close();
    if (this.#writer === writer) this.#writer = undefined;
  }

  /**
   * Folds the writer's staged step into every average and flips the version, all at once. `drive` runs the fold to its
   * end, letting others run between its slices. A step at or below the committed one is not folded again, one that is
   * not finite may be refused by the run's policy.
   */
  async commit(
    writer: Writer,
    step: number,
    bytes: number,
    isInitial: boolean,
    drive: (fold: Iterable<void>) => Promise<void>,
  ): Promise<CommitOutcome> {
    writer.checkOpen();
    writer.checkStep(step);
    if (this.#isCommitted(step)) return this.#drop(writer, 'ALREADY_COMMITTED');
    const isFirst = this.committedStep === undefined;
    writer.checkWhole(step, bytes, isFirst);
    const advance = isInitial ? advanceAllInitial : advanceAll;
    const advances = advance(this.spec.name, this.head, step);
    const { found, detail } = writer.nonFinite;
    if (found.size > 0) this.#nonFiniteSteps += 1;
    if (found.size > 0 && this.#isRejected()) return this.#drop(writer, 'REJECTED', detail);
    const skipped = this.spec.nonFinite === 'SKIP_TENSOR' ? new Set(found) : NONE;
    const plan =
      writer.ahead === undefined
        ? this.#versions.plan(step, advances, skipped)
        : this.#versions.planExchange(step, writer.ahead, writer.pages, skipped);
    await this.#foldAndFlip(writer, step, plan, drive);
    return this.#drop(writer, 'COMMITTED', detail);
  }

  /** Acknowledges a step that the trainer's optimizer skipped: readers see it, its averages are those before. */
  skip(writer: Writer, step: number): CommitOutcome {
    writer.checkOpen();
    writer.checkStep(step);
    if (this.#isCommitted(step)) return this.#drop(writer, 'ALREADY_COMMITTED');
    // There is nothing to see before the first commit.
    if (this.committedStep !== undefined) {
      this.#versions.history.replace({ step, generation: writer.generation });
      this.#notify();
    }
    return this.#drop(writer, 'SKIPPED');
  }

  /** Adds an average, which starts with the next step. Only `whenSettled`. Throws INVALID_AVERAGE, MEMORY_EXHAUSTED. */
  addAverage(spec: AverageSpec): void {
    this.#checkSettled();
    this.#versions.addAverage(spec, this.#writer !== undefined);
    this.#notify();
  }

  /** Removes an average with its memory and its snapshots; readers keep what they hold. Only `whenSettled`. */
  removeAverage(name: string): void {
    this.#checkSettled();
    this.#versions.removeAverage(name);
    this.#notify();
  }

  /** Ends every stream and gives the memory back. */
  delete(): number {
    this.#isDeleted = true;
    this.#writer?.close(this.deletedError());
    this.#writer = undefined;
    const freedBytes = this.#versions.delete();
    this.#notify();
    return freedBytes;
  }

  deletedError(): ShadowkeepError {
    return new ShadowkeepError('RUN_DELETED', `run ${quote(this.spec.name)} was deleted`);
  }

  /** What `restore` needs, as of the head. */
  get state(): RunState {
    return { ...this.#lineage.state, ...this.#versions.state };
  }

  /** Puts a saved state in place of the empty one, with empty snapshots; the caller fills the head's pages. */
  restore(state: RunState): void {
    this.#versions.restore(state);
    this.#lineage.restore(state);
  }

  #isCommitted(step: number): boolean {
    return this.committedStep !== undefined && step <= this.committedStep;
  }

  /** A tensor cannot keep a shadow that it does not have yet. */
  #isRejected(): boolean {
    const { nonFinite } = this.spec;
    if (nonFinite !== 'SKIP_TENSOR') return nonFinite === 'REJECT_STEP';
    return this.head.shadows.some(({ state }) => state.weight === undefined);
  }

  #drop(writer: Writer, state: CommitOutcome['state'], detail = ''): CommitOutcome {
    writer.reset();
    return { state, detail };
  }

  async #foldAndFlip(
    writer: Writer,
    step: number,
    plan: CommitPlan,
    drive: (fold: Iterable<void>) => Promise<void>,
  ): Promise<void> {
    const fold = this.#versions.fold(writer, plan);
    // Said before it begins: `drive` may let others run before the first slice too.
    this.#fold = Promise.resolve(fold).then(drive);
    try {
      await this.#fold;
    } finally {
      // In one go with the flip: who sees no fold under way sees the version that it made.
      this.#fold = undefined;
    }
    if (this.#isDeleted) throw this.deletedError();
    this.#versions.flip(step, writer.generation, plan);
    if (plan.isFirst) writer.dropOnce();
    const staging = this.#versions.stagingAfter(plan);
    if (staging !== undefined) writer.exchangePages(staging);
    this.#notify();
  }

  #checkSettled(): void {
    assert(this.#fold === undefined, 'nothing changes a run during a fold');
    if (this.#isDeleted) throw this.deletedError();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** No tensor is left out. */
const NONE: ReadonlySet<never> = new Set();
