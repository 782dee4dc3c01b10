import { assert, quote, ShadowkeepError } from '../../common/index.js';
import type { KernelMode } from '../../kernels/index.js';
import type { StagedStep } from '../assembly/index.js';
import type { Advance, AverageSpec } from '../averages/index.js';
import { type CommitPlan, FoldPlans, foldCommit, foldedShadows } from '../fold/commit.js';
import type { FoldTarget } from '../fold/fold.js';
import type { FoldAhead } from '../fold/fold-ahead.js';
import { allocateTargets } from '../fold/fold-targets.js';
import { type Layout, placeTensors } from '../layout/layout.js';
import { stepLengths } from '../layout/wire-plan.js';
import type { LineageState } from '../lineage.js';
import { averageHeapBytes, layoutBytes } from '../memory/layout-memory.js';
import type { Lease, Ledger } from '../memory/ledger.js';
import { type Page, PagePool, type PageWant } from '../memory/page-pool.js';
import { homeOfPage, type PageTable, type Plane, PlaneShape, pageBytesFor } from '../memory/plane.js';
import { countPages, pageCountOf, pagesOf, takeNext } from '../memory/tables.js';
import { allocateSnapshot, bytesOf, checkSnapshotBytes, SnapshotKeeper, type SnapshotPlan } from '../post-hoc/index.js';
import type { RunMemory, RunOptions, RunSpec, RunState } from '../run-spec.js';
import { History } from './history.js';
import { openContent, openShadow } from './open-shadows.js';
import type { Shadow, Version } from './version.js';

/** Owns the memory of a run: the pages, the versions made of them, and the way from one version to the next. */
export class RunVersions {
  readonly layout: Layout;
  readonly pool: PagePool;
  readonly history: History;
  /** Length of a step in the layout's own dtypes, bytes: without the tensors that are sent once, and with them. */
  readonly stepBytes: number;
  readonly firstStepBytes: number;
  readonly spec: RunSpec;
  readonly #owner: string;
  readonly #shape: PlaneShape;
  readonly #foldPlans: FoldPlans;
  readonly #lease: Lease | undefined;
  readonly #snapshots: SnapshotKeeper | undefined;
  readonly #yieldElements: number | undefined;

  /** Throws MEMORY_EXHAUSTED unless the shadows and one step in flight fit; takes the shadows' memory. */
  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions) {
    this.#owner = `run ${quote(spec.name)}`;
    this.#yieldElements = options.yieldElements;
    const averages = options.averages ?? spec.averages;
    this.#lease = options.lease;
    this.#lease?.reserveColumns(layoutBytes(spec.tensors));
    this.#lease?.reserve(averages.reduce((sum, average) => sum + averageHeapBytes(average, spec.tensors.length), 0));
    this.layout = options.layout ?? placeTensors(spec.tensors);
    // The layout's table stands for the list of the request, which can be freed then.
    this.spec = { ...spec, tensors: this.layout.tensors };
    this.#foldPlans = new FoldPlans(this.layout);
    const { stepBytes, firstStepBytes } = stepLengths(this.layout);
    this.stepBytes = stepBytes;
    this.firstStepBytes = firstStepBytes;
    const pageBytes = pageBytesFor(this.layout.averagedLength, this.layout.copiedLength, options.pageBytesMax);
    const precisions = averages.map((average) => average.precision);
    this.#shape = new PlaneShape(precisions, pageBytes, options.arenaBytesMax);
    this.pool = new PagePool(pageBytes, ledger, mode, this.#owner, options.arenaBytesMax);
    this.#snapshots = spec.snapshots && new SnapshotKeeper(spec.snapshots, this.layout, this.pool, this.#shape);
    try {
      if (spec.snapshots !== undefined) checkSnapshotBytes(spec.snapshots, this.layout, averages);
      const content = openContent(this.pool, this.#shape, this.layout, averages, firstStepBytes, ledger, this.#owner);
      this.history = new History(this.pool, options.nextVersionId ?? countFrom(1), content, spec.retain);
    } catch (error) {
      this.pool.close();
      this.#lease?.release();
      throw error;
    }
  }

  get head(): Version {
    return this.history.head;
  }

  /** The present cadence of snapshots, where they are kept. */
  get snapshotsEverySteps(): number | undefined {
    return this.#snapshots?.everySteps;
  }

  memory(stagingBytes: number): RunMemory {
    const { pageBytes, usedPages: used, freeBytes } = this.pool;
    const { shadows, copied, snapshots } = this.head;
    const tables = [...shadows.map(({ table }) => table), copied.table];
    const shadowBytes = tables.reduce((sum, table) => sum + pageCountOf(table) * pageBytes, 0);
    const snapshotBytes = bytesOf(snapshots);
    const pinnedBytes = used * pageBytes - shadowBytes - stagingBytes - snapshotBytes;
    return { shadowBytes, stagingBytes, snapshotBytes, pinnedBytes, freeBytes, layoutBytes: this.#lease?.bytes ?? 0 };
  }

  /** Decides what a commit of `step` does, and takes the pages that it needs. Throws MEMORY_EXHAUSTED. */
  plan(step: number, advances: readonly Advance[], skipped: ReadonlySet<number>, mayEvict: boolean): CommitPlan {
    const isFirst = this.head.step === undefined;
    const copiedBytes = isFirst ? this.layout.copiedLength : this.layout.copiedEachStepLength;
    const targets = this.#allocate(mayEvict, () => allocateTargets(this.pool, this.head, advances, copiedBytes));
    const snapshots = this.#planSnapshots(step, advances, targets);
    return { targets, advances, snapshots, skipped, isFirst, exchange: undefined };
  }

  /**
   * Decides the same for a step that was folded on its staging pages as it arrived. An average that was added meanwhile
   * begins with the next step, because the weights of this step were overwritten by the fold.
   */
  planExchange(
    step: number,
    { shadow: folded, advance, meter }: FoldAhead,
    staging: PageTable,
    skipped: ReadonlySet<number>,
    mayEvict: boolean,
  ): CommitPlan {
    const { shadows } = this.head;
    const index = shadows.findIndex(({ spec }) => spec === folded.spec);
    const replacements = index < 0 ? [] : this.#allocate(mayEvict, () => this.#replacements(folded));
    const advances = shadows.map(({ state }, at) => (at === index ? advance : { progress: state, weight: 0 }));
    const targets = shadows.map(({ plane, table }, at): FoldTarget => {
      const isFolded = at === index;
      return { plane, base: table, target: isFolded ? staging : table, weight: isFolded ? advance.weight : 0, meter };
    });
    const snapshots = this.#planSnapshots(step, advances, targets);
    const exchange = { target: targets[index], replacements };
    return { targets, advances, snapshots, skipped, isFirst: false, exchange };
  }

  /** Folds a step that is staged whole, in slices. */
  *fold({ pages, plan: own }: StagedStep, plan: CommitPlan): Generator<void> {
    const wire = yield* this.#foldPlans.planFor(own, this.head.shadows, plan);
    yield* foldCommit(wire, pages, plan, this.pool.pageBytes, this.#yieldElements);
  }

  /** Makes what was folded the head. */
  flip(step: number, generation: number, plan: CommitPlan): void {
    const { head } = this;
    this.history.commit({
      step,
      generation,
      shadows: foldedShadows(head, plan),
      copied: plan.exchange === undefined ? copiedBy(head, plan) : head.copied,
      snapshots: plan.snapshots.snapshots,
    });
  }

  /**
   * The staging pages after the flip of an exchange: old pages of the shadow that nobody holds, and fresh ones in place
   * of the others.
   */
  stagingAfter({ exchange }: CommitPlan): readonly Page[] | undefined {
    const target = exchange?.target;
    return target?.base.map((page, index) => {
      const replacement = exchange?.replacements[index];
      if (replacement !== undefined) return replacement;
      assert(page !== undefined, 'a table that is exchanged has every page');
      // The flip has just freed this page with the old version.
      return takeNext(this.pool.allocate([wantLike(target.plane, page, index)], 'one step in flight').values());
    });
  }

  /**
   * Adds an average. Without an open writer, one step in flight has to fit besides. Throws INVALID_AVERAGE,
   * MEMORY_EXHAUSTED.
   */
  addAverage(spec: AverageSpec, hasWriter: boolean): void {
    const { shadows, step } = this.head;
    if (this.spec.snapshots !== undefined) {
      checkSnapshotBytes(this.spec.snapshots, this.layout, [...shadows.map((shadow) => shadow.spec), spec]);
    }
    const plane = this.#shape.plane(spec.precision, this.layout.averagedLength);
    const added = countPages(pagesOf(plane, this.layout, spec));
    const staging = hasWriter ? 0 : Math.ceil(this.stepBytes / this.pool.pageBytes);
    this.pool.check(added + staging, `average ${quote(spec.name)} of ${this.#owner} with one step in flight`);
    const heapBytes = averageHeapBytes(spec, this.layout.tensors.length);
    this.#lease?.reserve(heapBytes);
    try {
      this.history.replace({ shadows: [...shadows, openShadow(this.pool, this.#shape, this.layout, spec, step)] });
    } catch (error) {
      this.#lease?.giveBack(heapBytes);
      throw error;
    }
  }

  removeAverage(name: string): void {
    const removed = this.head.shadows.find(({ spec }) => spec.name === name);
    const shadows = this.head.shadows.filter((shadow) => shadow !== removed);
    assert(removed !== undefined && shadows.length > 0, 'a run keeps an average');
    const snapshots = this.head.snapshots.filter((snapshot) => snapshot.average !== name);
    this.history.replace({ shadows, snapshots });
    this.#lease?.giveBack(averageHeapBytes(removed.spec, this.layout.tensors.length));
  }

  /** Ends every reader and gives the memory back. */
  delete(): number {
    this.history.evictAll();
    const freedBytes = this.pool.reservedBytes + (this.#lease?.bytes ?? 0);
    this.pool.close();
    this.#lease?.release();
    return freedBytes;
  }

  /** What `restore` needs, as of the head. */
  get state(): Omit<RunState, keyof LineageState | 'answeredStep' | 'digests'> {
    const { step, shadows, snapshots } = this.head;
    return {
      step,
      averages: shadows.map(({ state }) => state),
      snapshotsEverySteps: this.snapshotsEverySteps,
      snapshots: snapshots.map(({ average, gamma, step: taken, time }) => ({ average, gamma, step: taken, time })),
    };
  }

  /** Puts a saved state in place of the empty one, with empty snapshots; the caller fills the head's pages. */
  restore(state: RunState): void {
    assert(this.head.step === undefined, 'only a fresh run is restored');
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
      return allocateSnapshot(this.pool, this.#shape, this.layout, dtype, { spec, gamma, time }, step);
    });
    this.history.replace({ step: state.step, generation: state.generation, shadows, snapshots });
  }

  /** The snapshots of the next version, and the work that fills the new ones. */
  #planSnapshots(step: number, advances: readonly Advance[], targets: readonly FoldTarget[]): SnapshotPlan {
    const { shadows, snapshots } = this.head;
    if (this.#snapshots === undefined) return { snapshots, fill: [] };
    const averages = shadows.map(({ spec, plane, state, table }, index) => {
      return { spec, plane, progress: advances[index]?.progress ?? state, table: targets[index]?.target ?? table };
    });
    return this.#snapshots.plan(snapshots, averages, step);
  }

  /** Allocates a fresh page for each page of a shadow that readers hold. */
  #replacements({ plane, table }: Shadow): (Page | undefined)[] {
    const isHeld = (page: Page | undefined): page is Page => page !== undefined && this.head.holds(page);
    const wants = table.flatMap((page, index) => (isHeld(page) ? [wantLike(plane, page, index)] : []));
    const fresh = this.pool.allocate(wants, 'pages that readers hold').values();
    return table.map((page) => (isHeld(page) ? takeNext(fresh) : undefined));
  }

  /** Allocates. When memory is short and `mayEvict`, the oldest readers lose their version first. */
  #allocate<Allocated>(mayEvict: boolean, allocate: () => Allocated): Allocated {
    for (;;) {
      try {
        return allocate();
      } catch (error) {
        if (!mayEvict || !(error instanceof ShadowkeepError) || !this.history.evictOldest()) throw error;
      }
    }
  }
}

/** Asks for a page that can stand in the place of another page. */
function wantLike(plane: Plane, { skew }: Page, index: number): PageWant {
  return { home: homeOfPage(plane, index), skew };
}

function copiedBy({ copied }: Version, { targets }: CommitPlan): Version['copied'] {
  return { ...copied, table: targets.at(-1)?.target ?? copied.table };
}

/** Returns a counter whose first answer is `first`. */
export function countFrom(first: number): () => number {
  let next = first;
  return () => next++;
}
