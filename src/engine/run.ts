import { assert, quote, ShadowkeepError, toEnd } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import { type WriterRequest, type WriterState, type WriterStream, Writers } from './assembly/index.js';
import type { AverageSpec } from './averages/index.js';
import { checkTrainer } from './check-trainer.js';
import { Committer } from './committer.js';
import type { Layout } from './layout/layout.js';
import { Lineage, type LineageState } from './lineage.js';
import type { Ledger } from './memory/ledger.js';
import type { RetentionSpec, RunMemory, RunOptions, RunSpec, RunState, TrainerRequest } from './run-spec.js';
import { countFrom, RunVersions } from './versions/run-versions.js';
import type { Reader, Version } from './versions/version.js';

/**
 * One training run: its planes, the version that readers see, the writers that fill the next one. The single writer of
 * its own state; no I/O, no clock, no randomness, so the same calls give the same bytes.
 */
export class Run {
  readonly spec: RunSpec;
  /** The id of its first version. Ids of versions are never issued twice. */
  readonly id: number;
  readonly #ledger: Ledger;
  readonly #versions: RunVersions;
  readonly #lineage: Lineage;
  readonly #committer: Committer;
  /** The writers of the present generation; undefined until a trainer has attached. */
  #writers: Writers | undefined;
  #isDeleted = false;
  readonly #listeners = new Set<() => void>();

  /** Throws MEMORY_EXHAUSTED unless the shadows and one step in flight fit; takes the shadows' memory. */
  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions = {}) {
    this.#ledger = ledger;
    this.#lineage = new Lineage(spec.name, options.nextGeneration ?? countFrom(1));
    this.#versions = new RunVersions(spec, ledger, mode, options);
    this.spec = this.#versions.spec;
    this.id = this.head.id;
    const notify = (): void => this.#notify();
    this.#committer = new Committer(this.spec, this.#versions, this.#lineage, notify, options.patience);
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

  /** The newest step of which a trainer was told what became of it. */
  get answeredStep(): number | undefined {
    return this.#committer.answeredStep;
  }

  get generation(): number {
    return this.#lineage.generation;
  }

  /** The generation that created the run; undefined when an older server has not saved it. */
  get firstGeneration(): number | undefined {
    return this.#lineage.firstGeneration;
  }

  /** Number of processes that push in the present generation. */
  get writerCount(): number {
    return this.#lineage.writers;
  }

  /** How far each writer is. */
  get writerStates(): WriterState[] {
    return this.#writers?.states ?? [];
  }

  /** The oldest step that has begun, which is decided next. */
  get oldestStep(): number | undefined {
    return this.#writers?.pipeline?.oldest?.step;
  }

  /** The step that is decided next, and the number of its bytes that have arrived; undefined when no step has begun. */
  get staging(): { readonly step: number; readonly receivedBytes: number } | undefined {
    const oldest = this.#writers?.pipeline?.oldest;
    if (oldest === undefined) return undefined;
    const receivedBytes = [...oldest.parts].reduce((sum, slot) => sum + slot.arrivedOf(oldest.step), 0);
    return { step: oldest.step, receivedBytes };
  }

  get isDeleted(): boolean {
    return this.#isDeleted;
  }

  /** The committed versions that readers can get: the newest, then those that other readers hold or that are retained. */
  get versions(): readonly Version[] {
    return this.#versions.history.versions;
  }

  /** Steps of the retained versions, rising. */
  get retainedSteps(): number[] {
    return this.#versions.history.retained.flatMap(({ step }) => step ?? []);
  }

  get retain(): RetentionSpec | undefined {
    return this.#versions.history.retain;
  }

  set retain(retain: RetentionSpec | undefined) {
    this.#versions.history.retain = retain;
  }

  /** Number of steps, since the run was opened or restored, in which a value was not finite. */
  get nonFiniteSteps(): number {
    return this.#committer.nonFiniteSteps;
  }

  /** The present cadence of snapshots: it doubles when there is no room. Undefined: none are kept. */
  get snapshotsEverySteps(): number | undefined {
    return this.#versions.snapshotsEverySteps;
  }

  get memory(): RunMemory {
    return this.#versions.memory(this.#writers?.pipeline?.stagingBytes ?? 0);
  }

  /**
   * Does `action` at a moment when no fold is under way. What pins the head, opens a writer or fences one belongs in
   * here: after an `await` of anything else, a fold may have begun.
   */
  async whenSettled<Result>(action: () => Result): Promise<Result> {
    return await this.#committer.whenSettled(action);
  }

  /** Calls `listener` after each commit and after the deletion; returns the way to stop that. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Holds a version for a reader. The head may be held only `whenSettled`, because a fold under way may write on its
   * pages.
   */
  pin(version: Version): Reader {
    assert(!this.#committer.isFolding || version !== this.head, 'the head is not pinned while it is folded');
    return version.pin();
  }

  /**
   * Returns the lineage that `attach` would make of one life of the trainer, so that it can be saved before the trainer
   * hears of it; undefined when the lineage stays as it is. Call it only `whenSettled`. Throws what `attach` throws.
   */
  planAttach(trainer: TrainerRequest): LineageState | undefined {
    this.#rewindTarget(trainer);
    return this.#lineage.next(trainer.incarnation, trainer.writers);
  }

  /**
   * The generation of one life of the trainer. A new incarnation opens a generation and fences the others: their streams
   * end, and what they had staged is freed. A known one gets its own again, or GENERATION_FENCED; an empty one takes part
   * in the present generation. A new generation goes on from an older version where that is asked for. Only
   * `whenSettled`: a step that has arrived whole is not torn from its writers. Throws WRITERS_MISMATCH, RUN_HAS_COMMITS,
   * TRAINER_BEHIND, RUN_BEHIND, VERSION_NOT_FOUND, and changes nothing then.
   */
  attach(trainer: TrainerRequest, planned?: LineageState): number {
    const version = this.#rewindTarget(trainer);
    const next = planned ?? this.#lineage.next(trainer.incarnation, trainer.writers);
    if (next !== undefined) this.#lineage.restore(next);
    const { generation } = this;
    if (this.#writers === undefined || this.#writers.generation < generation) {
      this.#writers?.end(this.#lineage.fencedError(this.committedStep));
      this.#writers = this.#newWriters();
    }
    if (version !== undefined && version !== this.head) this.#rewind(version, generation);
    return generation;
  }

  /** The lives of the trainer that the run knows. */
  get lineage(): LineageState {
    return this.#lineage.state;
  }

  /** Replaces the lineage by a newer one that was saved. Call it before anybody writes. */
  restoreLineage(state: LineageState): void {
    this.#lineage.restore(state);
  }

  /**
   * Opens the stream of a writer. The stream is ready when all writers have declared their boxes and these are proved to
   * tile every tensor; the memory of one step is taken then. `onFailure` is called when the stream is closed from
   * outside: by a newer generation, by the deletion of the run, or because its step got no bytes for too long. Yields
   * between slices; the first slice must run `whenSettled`.
   */
  *openingWriter(request: WriterRequest, onFailure: (error: ShadowkeepError) => void): Generator<void, WriterStream> {
    this.#checkSettled();
    this.#lineage.check(request.generation);
    this.#writers ??= this.#newWriters();
    const writers = this.#writers;
    const stream = writers.open(request, onFailure);
    yield* writers.proving(stream);
    return stream;
  }

  /** Opens a writer's stream in one go, where nobody else waits for the loop. */
  openWriter(request: WriterRequest, onFailure: (error: ShadowkeepError) => void): WriterStream {
    return toEnd(this.openingWriter(request, onFailure));
  }

  /** Drops the oldest step, because the part of some writer does not come. Call it only `whenSettled`. */
  dropOldest(timeoutMs: number): void {
    this.#writers?.pipeline?.dropOldest(timeoutMs);
  }

  /** The error for a writer that has waited so long for the others to declare their boxes. */
  missingError(timeoutMs: number): ShadowkeepError {
    assert(this.#writers !== undefined, 'somebody waits');
    return this.#writers.missingError(timeoutMs);
  }

  /** Adds an average, which starts with the next step. Only `whenSettled`. Throws INVALID_AVERAGE, MEMORY_EXHAUSTED. */
  addAverage(spec: AverageSpec): void {
    this.#checkSettled();
    this.#versions.addAverage(spec, this.#writers?.pipeline !== undefined);
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
    this.#committer.close(this.deletedError());
    this.#writers?.end(this.deletedError());
    this.#writers = undefined;
    const freedBytes = this.#versions.delete();
    this.#notify();
    return freedBytes;
  }

  deletedError(): ShadowkeepError {
    return new ShadowkeepError('RUN_DELETED', `run ${quote(this.spec.name)} was deleted`);
  }

  /** What `restore` needs, as of the head. */
  get state(): RunState {
    return { ...this.#lineage.state, ...this.#versions.state, ...this.#committer.state };
  }

  /** Puts a saved state in place of the empty one, with empty snapshots; the caller fills the head's pages. */
  restore(state: RunState): void {
    this.#versions.restore(state);
    this.#lineage.restore(state);
    this.#committer.restore(state);
  }

  #newWriters(): Writers {
    const { generation, writers } = this.#lineage;
    const { pool, layout } = this.#versions;
    return new Writers(generation, writers, this.spec, this.#committer, pool, layout, this.#ledger);
  }

  /** The version that a new life of the trainer asks to go on from, if it asks. Throws when the life may not begin. */
  #rewindTarget({ incarnation, resumeStep, trainerStep }: TrainerRequest): Version | undefined {
    this.#checkSettled();
    const isNew = this.#lineage.isNew(incarnation);
    const version = isNew && resumeStep !== undefined ? this.#versions.history.newestUntil(resumeStep) : undefined;
    if (isNew || incarnation === '') checkTrainer(this, resumeStep, trainerStep, version);
    return version;
  }

  #rewind(version: Version, generation: number): void {
    this.#versions.history.rewind(version, generation);
    this.#committer.rewind(version.step);
    this.#notify();
  }

  #checkSettled(): void {
    assert(!this.#committer.isFolding, 'nothing changes a run during a fold');
    if (this.#isDeleted) throw this.deletedError();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
