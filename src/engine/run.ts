import { assert, type FloatDType, quote, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import { advanceAll, advanceAllInitial } from './advance-run.js';
import type { AverageSpec } from './averages/index.js';
import { type CommitPlan, FoldPlans, foldCommit, foldedShadows } from './commit.js';
import type { FoldTarget } from './fold.js';
import { allocateTargets } from './fold-targets.js';
import { History } from './history.js';
import { type Layout, placeTensors } from './layout.js';
import type { Ledger } from './ledger.js';
import { Lineage } from './lineage.js';
import { openContent, openShadow } from './open-shadows.js';
import { PagePool } from './page-pool.js';
import { PlaneShape, pageBytesFor } from './plane.js';
import { allocateSnapshot, bytesOf, checkSnapshotBytes, SnapshotKeeper } from './post-hoc/index.js';
import type { CommitOutcome, RunMemory, RunOptions, RunSpec, RunState } from './run-spec.js';
import { pageCountOf } from './tables.js';
import type { Reader, Version } from './version.js';
import { planWire } from './wire-plan.js';
import { Writer } from './writer.js';

/**
 * One training run: its planes, the version that readers see, the writer that fills the next one. The single writer of
 * its own state; no I/O, no clock, no randomness, so the same calls give the same bytes.
 */
export class Run {
  readonly spec: RunSpec;
  readonly layout: Layout;
  /** Length of a step in the layout's own dtypes, bytes: without the tensors that are sent once, and with them. */
  readonly stepBytes: number;
  readonly firstStepBytes: number;
  readonly #pool: PagePool;
  readonly #shape: PlaneShape;
  readonly #options: RunOptions;
  readonly #history: History;
  readonly #lineage: Lineage;
  readonly #foldPlans: FoldPlans;
  readonly #snapshots: SnapshotKeeper | undefined;
  #nonFiniteSteps = 0;
  #writer: Writer | undefined;
  #fold: Promise<void> | undefined;
  #isDeleted = false;
  readonly #listeners = new Set<() => void>();

  /** Throws MEMORY_EXHAUSTED unless the shadows and one step in flight fit; takes the shadows' memory. */
  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions = {}) {
    this.spec = spec;
    this.#options = options;
    this.#lineage = new Lineage(spec.name);
    this.layout = placeTensors(spec.tensors);
    this.#foldPlans = new FoldPlans(this.layout);
    const { stepBytes, firstStepBytes } = planWire(this.layout, undefined);
    this.stepBytes = stepBytes;
    this.firstStepBytes = firstStepBytes;
    const averages = options.averages ?? spec.averages;
    if (spec.snapshots !== undefined) checkSnapshotBytes(spec.snapshots, this.layout, averages);
    const pageBytes = pageBytesFor(this.layout.averagedLength, this.layout.copiedLength, options.pageBytesMax);
    const precisions = averages.map((average) => average.precision);
    this.#shape = new PlaneShape(precisions, pageBytes, options.arenaBytesMax);
    const what = `run ${quote(spec.name)}`;
    this.#pool = new PagePool(pageBytes, ledger, mode, what, options.arenaBytesMax);
    this.#snapshots = spec.snapshots && new SnapshotKeeper(spec.snapshots, this.layout, this.#pool, this.#shape);
    try {
      const content = openContent(this.#pool, this.#shape, this.layout, averages, firstStepBytes, ledger, what);
      this.#history = new History(this.#pool, options.nextVersionId ?? countFrom(1), content);
    } catch (error) {
      this.#pool.close();
      throw error;
    }
  }

  /** The version that readers see; its step is undefined before the first commit. */
  get head(): Version {
    return this.#history.head;
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
    return this.#history.versions;
  }

  /** Steps in which a value was not finite, since the run was opened or restored. */
  get nonFiniteSteps(): number {
    return this.#nonFiniteSteps;
  }

  get memory(): RunMemory {
    const { pageBytes, usedPages, freeBytes } = this.#pool;
    const { shadows, copied, snapshots } = this.head;
    const tables = [...shadows.map(({ table }) => table), copied.table];
    const shadowBytes = tables.reduce((sum, table) => sum + pageCountOf(table) * pageBytes, 0);
    const stagingBytes = this.#writer?.stagingBytes ?? 0;
    const snapshotBytes = bytesOf(snapshots);
    const pinnedBytes = usedPages * pageBytes - shadowBytes - stagingBytes - snapshotBytes;
    return { shadowBytes, stagingBytes, snapshotBytes, pinnedBytes, freeBytes };
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
    const settings = { generation, isFirst: this.committedStep === undefined, nonFinite: this.spec.nonFinite };
    const plan = planWire(this.layout, wireDType);
    this.#writer = new Writer(this.#pool, plan, this.head.shadows[0]?.plane, settings, onFailure);
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
    const targets = this.#targets(advances, isFirst);
    const averages = this.head.shadows.map(({ spec, plane, table }, index) => {
      return { spec, plane, progress: advances[index]!.progress, table: targets[index]?.target ?? table };
    });
    const held = this.head.snapshots;
    const snapshots = this.#snapshots?.plan(held, averages, step) ?? { snapshots: held, fill: [] };
    const skipped = this.spec.nonFinite === 'SKIP_TENSOR' ? new Set(found) : NONE;
    await this.#foldAndFlip(writer, step, { targets, advances, snapshots, skipped, isFirst }, drive);
    return this.#drop(writer, 'COMMITTED', detail);
  }

  /** Acknowledges a step that the trainer's optimizer skipped: readers see it, its averages are those before. */
  skip(writer: Writer, step: number): CommitOutcome {
    writer.checkOpen();
    writer.checkStep(step);
    if (this.#isCommitted(step)) return this.#drop(writer, 'ALREADY_COMMITTED');
    // There is nothing to see before the first commit.
    if (this.committedStep !== undefined) {
      this.#history.replace({ step, generation: writer.generation });
      this.#notify();
    }
    return this.#drop(writer, 'SKIPPED');
  }

  /** Adds an average, which starts with the next step. Only `whenSettled`. Throws INVALID_AVERAGE, MEMORY_EXHAUSTED. */
  addAverage(spec: AverageSpec): void {
    this.#checkSettled();
    const averages = [...this.averages, spec];
    if (this.spec.snapshots !== undefined) checkSnapshotBytes(this.spec.snapshots, this.layout, averages);
    const added = openShadow(this.#pool, this.#shape, this.layout, spec, this.committedStep);
    this.#history.replace({ shadows: [...this.head.shadows, added] });
    this.#notify();
  }

  /** Removes an average with its memory and its snapshots; readers keep what they hold. Only `whenSettled`. */
  removeAverage(name: string): void {
    this.#checkSettled();
    const shadows = this.head.shadows.filter(({ spec }) => spec.name !== name);
    assert(shadows.length > 0, 'a run keeps an average');
    const snapshots = this.head.snapshots.filter((snapshot) => snapshot.average !== name);
    this.#history.replace({ shadows, snapshots });
    this.#notify();
  }

  /** Ends every stream and gives the memory back. */
  delete(): number {
    this.#isDeleted = true;
    this.#writer?.close(this.deletedError());
    this.#writer = undefined;
    this.#history.evictAll();
    const freedBytes = this.#pool.reservedBytes;
    this.#pool.close();
    this.#notify();
    return freedBytes;
  }

  deletedError(): ShadowkeepError {
    return new ShadowkeepError('RUN_DELETED', `run ${quote(this.spec.name)} was deleted`);
  }

  /** What `restore` needs, as of the head. */
  get state(): RunState {
    const { step, shadows, snapshots } = this.head;
    return {
      ...this.#lineage.state,
      step,
      averages: shadows.map(({ state }) => state),
      snapshotsEverySteps: this.#snapshots?.everySteps,
      snapshots: snapshots.map(({ average, gamma, step, time }) => ({ average, gamma, step, time })),
    };
  }

  /** Puts a saved state in place of the empty one, with empty snapshots; the caller fills the head's pages. */
  restore(state: RunState): void {
    assert(this.head.step === undefined, 'only a fresh run is restored');
    this.#lineage.restore(state);
    if (state.snapshotsEverySteps !== undefined) this.#snapshots?.restore(state.snapshotsEverySteps);
    const shadows = this.head.shadows.map((shadow, index) => {
      const saved = state.averages[index];
      assert(saved !== undefined, 'each average was saved');
      return { ...shadow, state: saved };
    });
    const snapshots = state.snapshots.map(({ average, gamma, step, time }) => {
      const spec = shadows.find((shadow) => shadow.spec.name === average)?.spec;
      const dtype = this.spec.snapshots?.dtype;
      assert(spec !== undefined && dtype !== undefined, 'a snapshot is of an average of the run');
      return allocateSnapshot(this.#pool, this.#shape, this.layout, dtype, { spec, gamma, time }, step);
    });
    this.#history.replace({ step: state.step, generation: state.generation, shadows, snapshots });
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
    const wire = this.#foldPlans.planFor(writer.plan, this.head.shadows, plan.skipped);
    const fold = foldCommit(wire, writer.pages, plan, this.#pool.pageBytes, this.#options.yieldElements);
    // Said before it begins: `drive` may let others run before the first slice too.
    this.#fold = Promise.resolve(fold).then(drive);
    try {
      await this.#fold;
    } finally {
      // In one go with the flip: who sees no fold under way sees the version that it made.
      this.#fold = undefined;
    }
    if (this.#isDeleted) throw this.deletedError();
    const { head } = this;
    this.#history.replace({
      step,
      generation: writer.generation,
      shadows: foldedShadows(head, plan),
      copied: { ...head.copied, table: plan.targets.at(-1)?.target ?? head.copied.table },
      snapshots: plan.snapshots.snapshots,
    });
    if (plan.isFirst) writer.dropOnce();
    this.#notify();
  }

  /** Where the fold goes. When its fresh pages do not fit, the oldest readers lose their version: no trainer waits for one. */
  #targets(advances: CommitPlan['advances'], isFirst: boolean): FoldTarget[] {
    const copiedBytes = isFirst ? this.layout.copiedLength : this.layout.copiedEachStepLength;
    for (;;) {
      try {
        return allocateTargets(this.#pool, this.head, advances, copiedBytes);
      } catch (error) {
        if (!(error instanceof ShadowkeepError) || !this.#history.evictOldest()) throw error;
      }
    }
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

/** A counter: its first answer is `first`. */
export function countFrom(first: number): () => number {
  let next = first;
  return () => next++;
}
