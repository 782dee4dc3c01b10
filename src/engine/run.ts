import { assert, type FloatDType, quote, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import { SKEW } from './arena.js';
import type { AverageSpec } from './averages/index.js';
import { type FoldTarget, foldStep } from './fold.js';
import { allocateTargets } from './fold-targets.js';
import { type Layout, placeTensors, planWire, type TensorSpec } from './layout.js';
import type { Ledger } from './ledger.js';
import { Lineage, type LineageState } from './lineage.js';
import { initialStates, nextStates } from './next-states.js';
import { type Page, PagePool } from './page-pool.js';
import { createPlanes, homeOfPage, type Plane, pageBytesFor } from './plane.js';
import { type AverageState, type Reader, Version } from './version.js';
import { Writer } from './writer.js';

/** What a run is made of; fixed when it is opened. */
export interface RunSpec {
  readonly name: string;
  readonly tensors: readonly TensorSpec[];
  readonly averages: readonly AverageSpec[];
}

export type CommitState = 'COMMITTED' | 'ALREADY_COMMITTED';

export interface RunOptions {
  /** Never the same twice for readers of one name: a resumed read goes on in the version that it names. */
  readonly nextVersionId?: () => number;
  /** These have their defaults where they are used; tests make them small to have many pages, arenas and slices. */
  readonly pageBytesMax?: number;
  readonly arenaBytesMax?: number;
  readonly yieldElements?: number;
}

/** What is kept of a run beside its spec and its planes. */
export interface RunState extends LineageState {
  readonly step: number | undefined;
  readonly averages: readonly AverageState[];
}

export interface RunMemory {
  readonly shadowBytes: number;
  readonly stagingBytes: number;
  readonly pinnedBytes: number;
  readonly freeBytes: number;
}

/**
 * One training run: its planes, the version that readers see, the writer that fills the next one. The single writer of
 * its own state; no I/O, no clock, no randomness, so the same calls give the same bytes.
 */
export class Run {
  readonly spec: RunSpec;
  readonly layout: Layout;
  readonly planes: readonly Plane[];
  readonly #pool: PagePool;
  readonly #options: RunOptions;
  readonly #nextVersionId: () => number;
  #head: Version;
  /** Versions that readers still hold, oldest first. */
  #retired: Version[] = [];
  readonly #lineage: Lineage;
  #writer: Writer | undefined;
  #fold: Promise<void> | undefined;
  #isDeleted = false;
  readonly #listeners = new Set<() => void>();

  /** Throws MEMORY_EXHAUSTED unless the shadows and one step in flight fit; takes the shadows' memory. */
  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions = {}) {
    this.spec = spec;
    this.#lineage = new Lineage(spec.name);
    this.#options = options;
    this.#nextVersionId = options.nextVersionId ?? countFrom(1);
    this.layout = placeTensors(spec.tensors);
    const { averagedLength, copiedLength } = this.layout;
    const pageBytes = pageBytesFor(averagedLength, copiedLength, options.pageBytesMax);
    const precisions = spec.averages.map((average) => average.precision);
    this.planes = createPlanes(precisions, averagedLength, copiedLength, pageBytes, options.arenaBytesMax);
    this.#pool = new PagePool(pageBytes, ledger, mode, `run ${quote(spec.name)}`, options.arenaBytesMax);
    const pageCount =
      this.planes.reduce((sum, plane) => sum + plane.pageCount, 0) + Math.ceil(this.stepBytes / pageBytes);
    ledger.check(this.#pool.bytesOf(pageCount), `run ${quote(spec.name)} with one step in flight`);
    try {
      const tables = this.planes.map((plane) => this.#allocateTable(plane));
      const states = spec.averages.map(() => ({ numUpdates: 0, weight: undefined }));
      this.#head = new Version(this.#pool, {
        id: this.#nextVersionId(),
        step: undefined,
        generation: 0,
        states,
        tables,
      });
    } catch (error) {
      this.#pool.close();
      throw error;
    }
  }

  /** The version that readers see; its step is undefined before the first commit. */
  get head(): Version {
    return this.#head;
  }

  get committedStep(): number | undefined {
    return this.#head.step;
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

  /** Length of a step in the layout's own dtypes, bytes. */
  get stepBytes(): number {
    return planWire(this.layout, undefined).totalBytes;
  }

  get memory(): RunMemory {
    const { pageBytes, usedPages, freeBytes } = this.#pool;
    const shadowBytes = this.#head.tables.reduce((sum, table) => sum + table.length * pageBytes, 0);
    const stagingBytes = this.#writer?.stagingBytes ?? 0;
    return { shadowBytes, stagingBytes, pinnedBytes: usedPages * pageBytes - shadowBytes - stagingBytes, freeBytes };
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

  /** The committed versions that readers can get: the newest, then those that other readers hold. */
  get versions(): readonly Version[] {
    const held = this.#retired.filter((version) => version.isPinned).reverse();
    return [this.#head, ...held].filter((version) => version.step !== undefined);
  }

  /** Holds a version for a reader; the head only `whenSettled`: a fold under way may be writing on its pages. */
  pin(version: Version): Reader {
    assert(this.#fold === undefined || version !== this.#head, 'the head is not pinned while it is folded');
    return version.pin();
  }

  /**
   * The generation of one life of the trainer. A new incarnation opens a generation and fences the others: their streams
   * end, and what they had staged is freed. A known one gets its own again, or GENERATION_FENCED; an empty one takes part
   * in the present generation. Only `whenSettled`: a step that has arrived whole is not torn from its writer.
   */
  attach(incarnation: string): number {
    assert(this.#fold === undefined, 'nobody is fenced during a fold');
    if (this.#isDeleted) throw this.deletedError();
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
    this.#writer = new Writer(this.#pool, this.layout, this.planes, generation, wireDType, onFailure);
    return this.#writer;
  }

  /** Idempotent; a writer that was fenced is closed already. */
  closeWriter(writer: Writer): void {
    writer.close();
    if (this.#writer === writer) this.#writer = undefined;
  }

  /**
   * Folds the writer's staged step into every average and flips the version, all at once. `drive` runs the fold to its
   * end, letting others run between its slices. A step at or below the committed one is not folded again.
   */
  async commit(
    writer: Writer,
    step: number,
    bytes: number,
    isInitial: boolean,
    drive: (fold: Iterable<void>) => Promise<void>,
  ): Promise<CommitState> {
    writer.checkOpen();
    writer.checkStep(step);
    if (this.committedStep !== undefined && step <= this.committedStep) {
      writer.reset();
      return 'ALREADY_COMMITTED';
    }
    writer.checkWhole(step, bytes);
    const states = isInitial ? initialStates(this.spec, step, this.#head) : nextStates(this.spec, this.#head);
    const targets = this.#targets(states.map((state) => state.weight ?? 0));
    const { pageBytes } = this.#pool;
    const fold = foldStep(writer.plan.segments, writer.pages, pageBytes, targets, this.#options.yieldElements);
    // Said before it begins: `drive` may let others run before the first slice too.
    this.#fold = Promise.resolve(fold).then(drive);
    try {
      await this.#fold;
    } finally {
      // In one go with the flip: who sees no fold under way sees the version that it made.
      this.#fold = undefined;
    }
    this.#flip(step, writer.generation, states, targets);
    writer.reset();
    return 'COMMITTED';
  }

  /** Ends every stream and gives the memory back. */
  delete(): number {
    this.#isDeleted = true;
    this.#writer?.close(this.deletedError());
    this.#writer = undefined;
    for (const version of [...this.#retired, this.#head]) version.evict('DELETED');
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
    const { step, states } = this.#head;
    return { ...this.#lineage.state, step, averages: states };
  }

  /** Puts a saved state in place of the empty one; the caller has filled the head's pages. */
  restore(state: RunState): void {
    assert(this.#head.step === undefined, 'only a fresh run is restored');
    this.#lineage.restore(state);
    this.#replaceHead(state.step, state.generation, state.averages, this.#head.tables);
  }

  /** Where the fold goes. When its fresh pages do not fit, the oldest readers lose their version: no trainer waits for one. */
  #targets(weights: readonly number[]): FoldTarget[] {
    for (;;) {
      try {
        return allocateTargets(this.#pool, this.planes, this.#head, weights);
      } catch (error) {
        if (!(error instanceof ShadowkeepError) || !this.#evictOldest()) throw error;
      }
    }
  }

  #evictOldest(): boolean {
    const oldest = this.#retired[0] ?? (this.#head.isPinned ? this.#head : undefined);
    oldest?.evict('MEMORY');
    this.#retired = this.#retired.filter((version) => version.isPinned);
    return oldest !== undefined;
  }

  #flip(step: number, generation: number, states: readonly AverageState[], targets: readonly FoldTarget[]): void {
    if (this.#isDeleted) throw this.deletedError();
    this.#replaceHead(
      step,
      generation,
      states,
      targets.map(({ target }) => target),
    );
    this.#notify();
  }

  #replaceHead(
    step: number | undefined,
    generation: number,
    states: readonly AverageState[],
    tables: Version['tables'],
  ): void {
    const old = this.#head;
    this.#head = new Version(this.#pool, { id: this.#nextVersionId(), step, generation, states, tables });
    this.#retired = [...this.#retired, old].filter((version) => version.isPinned);
    old.retire();
  }

  #allocateTable(plane: Plane): Page[] {
    const wants = Array.from({ length: plane.pageCount }, (_, index) => ({
      home: homeOfPage(plane, index),
      skew: SKEW.shadow,
    }));
    return this.#pool.allocate(wants, 'shadows');
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** A counter: its first answer is `first`. */
export function countFrom(first: number): () => number {
  let next = first;
  return () => next++;
}
