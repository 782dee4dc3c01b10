import { assert, quote, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import type { Advance, AverageSpec } from './averages/index.js';
import { type CommitPlan, FoldPlans, foldCommit, foldedShadows } from './commit.js';
import type { FoldTarget } from './fold.js';
import type { FoldAhead } from './fold-ahead.js';
import { allocateTargets } from './fold-targets.js';
import { History } from './history.js';
import { type Layout, type PlacedTensor, placeTensors } from './layout.js';
import type { Ledger } from './ledger.js';
import { openContent, openShadow } from './open-shadows.js';
import { type Page, PagePool } from './page-pool.js';
import { homeOfPage, type PageTable, PlaneShape, pageBytesFor } from './plane.js';
import { allocateSnapshot, bytesOf, checkSnapshotBytes, SnapshotKeeper } from './post-hoc/index.js';
import type { RunMemory, RunOptions, RunSpec, RunState } from './run-spec.js';
import { pageCountOf, takeNext, tensorsOf, usedPageCount } from './tables.js';
import type { Version } from './version.js';
import { planWire } from './wire-plan.js';
import type { Writer } from './writer.js';

/** The memory of a run: its pages, the versions made of them, and how the next version comes from the last one. */
export class RunVersions {
  readonly layout: Layout;
  readonly pool: PagePool;
  readonly history: History;
  /** Length of a step in the layout's own dtypes, bytes: without the tensors that are sent once, and with them. */
  readonly stepBytes: number;
  readonly firstStepBytes: number;
  readonly #spec: RunSpec;
  readonly #owner: string;
  readonly #shape: PlaneShape;
  readonly #foldPlans: FoldPlans;
  readonly #snapshots: SnapshotKeeper | undefined;
  readonly #yieldElements: number | undefined;

  /** Throws MEMORY_EXHAUSTED unless the shadows and one step in flight fit; takes the shadows' memory. */
  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions) {
    this.#spec = spec;
    this.#owner = `run ${quote(spec.name)}`;
    this.#yieldElements = options.yieldElements;
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
    this.pool = new PagePool(pageBytes, ledger, mode, this.#owner, options.arenaBytesMax);
    this.#snapshots = spec.snapshots && new SnapshotKeeper(spec.snapshots, this.layout, this.pool, this.#shape);
    try {
      const content = openContent(this.pool, this.#shape, this.layout, averages, firstStepBytes, ledger, this.#owner);
      this.history = new History(this.pool, options.nextVersionId ?? countFrom(1), content);
    } catch (error) {
      this.pool.close();
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
    return { shadowBytes, stagingBytes, snapshotBytes, pinnedBytes, freeBytes };
  }

  /** Decides what a commit of `step` does, and takes the pages that it needs. */
  plan(step: number, advances: readonly Advance[], skipped: ReadonlySet<PlacedTensor>): CommitPlan {
    const isFirst = this.head.step === undefined;
    const targets = this.#targets(advances, isFirst);
    const held = this.head.snapshots;
    const averages = this.head.shadows.map(({ spec, plane, state, table }, index) => {
      return { spec, plane, progress: advances[index]?.progress ?? state, table: targets[index]?.target ?? table };
    });
    const snapshots = this.#snapshots?.plan(held, averages, step) ?? { snapshots: held, fill: [] };
    return { targets, advances, snapshots, skipped, isFirst, exchange: undefined };
  }

  /**
   * The same for a step that was folded as it arrived, on the writer's staging pages. An average that was added meanwhile
   * begins with the next step: the weights are no more.
   */
  planExchange(
    step: number,
    { shadow: folded, advance, meter }: FoldAhead,
    staging: PageTable,
    skipped: ReadonlySet<PlacedTensor>,
  ): CommitPlan {
    const { head } = this;
    const index = head.shadows.findIndex(({ spec }) => spec === folded.spec);
    const replacements = index < 0 ? [] : this.#replacements(folded.table);
    const advances = head.shadows.map(({ state }, at) => (at === index ? advance : { progress: state, weight: 0 }));
    const targets = head.shadows.map(({ plane, table }, at): FoldTarget => {
      return { plane, base: table, target: at === index ? staging : table, weight: advances[at]!.weight, meter };
    });
    const averages = head.shadows.map(({ spec, plane }, at) => {
      return { spec, plane, progress: advances[at]!.progress, table: targets[at]!.target };
    });
    const snapshots = this.#snapshots?.plan(head.snapshots, averages, step) ?? { snapshots: head.snapshots, fill: [] };
    return { targets, advances, snapshots, skipped, isFirst: false, exchange: { index, replacements } };
  }

  /** The fold of a step that a writer has staged whole, in slices. */
  fold(writer: Writer, plan: CommitPlan): Iterable<void> {
    const wire = this.#foldPlans.planFor(writer.plan, this.head.shadows, plan.skipped);
    return foldCommit(wire, writer.pages, plan, this.pool.pageBytes, this.#yieldElements);
  }

  /** What was folded becomes the head. */
  flip(step: number, generation: number, plan: CommitPlan): void {
    const { head } = this;
    this.history.replace({
      step,
      generation,
      shadows: foldedShadows(head, plan),
      copied: plan.exchange === undefined ? copiedBy(head, plan) : head.copied,
      snapshots: plan.snapshots.snapshots,
    });
  }

  /** After the flip of an exchange: the old pages that nobody holds are staging now, in place of the others fresh ones. */
  stagingAfter({ targets, exchange }: CommitPlan): readonly Page[] | undefined {
    if (exchange === undefined || exchange.index < 0) return undefined;
    const target = targets[exchange.index];
    return target?.base.map((page, index) => {
      const replacement = exchange.replacements[index];
      if (replacement !== undefined) return replacement;
      assert(page !== undefined, 'a table that is exchanged has every page');
      // The old version has just freed it.
      const [taken] = this.pool.allocate(
        [{ home: homeOfPage(target.plane, index), skew: page.skew }],
        'one step in flight',
      );
      assert(taken !== undefined, 'a page that was freed is free');
      return taken;
    });
  }

  /** Throws INVALID_AVERAGE, MEMORY_EXHAUSTED; without an open writer a step in flight has to fit besides. */
  addAverage(spec: AverageSpec, hasWriter: boolean): void {
    const { shadows, step } = this.head;
    if (this.#spec.snapshots !== undefined) {
      checkSnapshotBytes(this.#spec.snapshots, this.layout, [...shadows.map((shadow) => shadow.spec), spec]);
    }
    const plane = this.#shape.plane(spec.precision, this.layout.averagedLength);
    const added = usedPageCount(plane, tensorsOf(this.layout, spec));
    const staging = hasWriter ? 0 : Math.ceil(this.stepBytes / this.pool.pageBytes);
    this.pool.check(added + staging, `average ${quote(spec.name)} of ${this.#owner} with one step in flight`);
    this.history.replace({ shadows: [...shadows, openShadow(this.pool, this.#shape, this.layout, spec, step)] });
  }

  removeAverage(name: string): void {
    const shadows = this.head.shadows.filter(({ spec }) => spec.name !== name);
    assert(shadows.length > 0, 'a run keeps an average');
    const snapshots = this.head.snapshots.filter((snapshot) => snapshot.average !== name);
    this.history.replace({ shadows, snapshots });
  }

  /** Ends every reader and gives the memory back. */
  delete(): number {
    this.history.evictAll();
    const freedBytes = this.pool.reservedBytes;
    this.pool.close();
    return freedBytes;
  }

  /** What `restore` needs, as of the head. */
  get state(): Omit<RunState, 'generation' | 'incarnations'> {
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
      const dtype = this.#spec.snapshots?.dtype;
      assert(spec !== undefined && dtype !== undefined, 'a snapshot is of an average of the run');
      return allocateSnapshot(this.pool, this.#shape, this.layout, dtype, { spec, gamma, time }, step);
    });
    this.history.replace({ step: state.step, generation: state.generation, shadows, snapshots });
  }

  /** Fresh pages for those of a table that readers hold; the oldest readers lose their version when they do not fit. */
  #replacements(table: PageTable): (Page | undefined)[] {
    const { plane } = this.head.shadows[0]!;
    for (;;) {
      const isHeld = (page: Page | undefined): page is Page =>
        page !== undefined && (page.refs > 1 || this.head.isPinned);
      const wants = table.flatMap((page, index) =>
        isHeld(page) ? [{ home: homeOfPage(plane, index), skew: page.skew }] : [],
      );
      try {
        const fresh = this.pool.allocate(wants, 'pages that readers hold').values();
        return table.map((page) => (isHeld(page) ? takeNext(fresh) : undefined));
      } catch (error) {
        if (!(error instanceof ShadowkeepError) || !this.history.evictOldest()) throw error;
      }
    }
  }

  /** Where the fold goes. When its fresh pages do not fit, the oldest readers lose their version: no trainer waits for one. */
  #targets(advances: readonly Advance[], isFirst: boolean): FoldTarget[] {
    const copiedBytes = isFirst ? this.layout.copiedLength : this.layout.copiedEachStepLength;
    for (;;) {
      try {
        return allocateTargets(this.pool, this.head, advances, copiedBytes);
      } catch (error) {
        if (!(error instanceof ShadowkeepError) || !this.history.evictOldest()) throw error;
      }
    }
  }
}

function copiedBy({ copied }: Version, { targets }: CommitPlan): Version['copied'] {
  return { ...copied, table: targets.at(-1)?.target ?? copied.table };
}

/** A counter: its first answer is `first`. */
export function countFrom(first: number): () => number {
  let next = first;
  return () => next++;
}
