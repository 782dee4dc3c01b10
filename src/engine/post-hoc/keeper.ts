import { ShadowkeepError } from '../../common/index.js';
import type { AverageSpec, Progress } from '../averages/index.js';
import type { Layout } from '../layout/layout.js';
import type { PagePool } from '../memory/page-pool.js';
import type { PageTable, Plane, PlaneShape } from '../memory/plane.js';
import { tensorsOf } from '../memory/tables.js';
import { copyElements } from '../read/read.js';
import type { Snapshot } from './snapshot.js';
import {
  allocateSnapshot,
  bytesOf,
  isDue,
  isFull,
  type PowerAverage,
  powerAverage,
  type SnapshotsSpec,
  thin,
} from './snapshots.js';

/** An average as a commit leaves it. */
export interface FoldedAverage {
  readonly spec: AverageSpec;
  readonly progress: Progress;
  readonly plane: Plane;
  readonly table: PageTable;
}

/** The snapshots of a run after a commit, and the work that fills the new ones. */
export interface SnapshotPlan {
  /** The snapshots of the next version. */
  readonly snapshots: readonly Snapshot[];
  /** Fills the new ones of them; after the fold, before anybody sees the version. */
  readonly fill: Iterable<void>;
}

/** Decides when snapshots are taken and which are kept. */
export class SnapshotKeeper {
  readonly #spec: SnapshotsSpec;
  readonly #layout: Layout;
  readonly #pool: PagePool;
  readonly #shape: PlaneShape;
  #everySteps: number;

  constructor(spec: SnapshotsSpec, layout: Layout, pool: PagePool, shape: PlaneShape) {
    this.#spec = spec;
    this.#layout = layout;
    this.#pool = pool;
    this.#shape = shape;
    this.#everySteps = spec.everySteps;
  }

  /** The present cadence: it doubles whenever there is no room. */
  get everySteps(): number {
    return this.#everySteps;
  }

  restore(everySteps: number): void {
    this.#everySteps = everySteps;
  }

  /** Takes the pages of what is due at `step`. A snapshot that does not fit thins the others, it fails no commit. */
  plan(held: readonly Snapshot[], averages: readonly FoldedAverage[], step: number): SnapshotPlan {
    const sources = averages.flatMap((average) => {
      const power = powerAverage(average.spec, average.progress);
      return power === undefined ? [] : [{ ...average, power }];
    });
    if (sources.length === 0 || !isDue(held, this.#everySteps, step)) return { snapshots: held, fill: [] };
    const taken = this.#allocate(sources, step);
    if (taken === undefined) return { snapshots: this.#thin(held), fill: [] };
    let kept = held;
    while (kept.length > 0 && isFull(this.#spec, kept, bytesOf(taken))) kept = this.#thin(kept);
    return { snapshots: [...kept, ...taken], fill: this.#fill(sources, taken) };
  }

  /** One snapshot for each source, or undefined when the ledger has no room for all. */
  #allocate(sources: readonly { power: PowerAverage }[], step: number): Snapshot[] | undefined {
    const taken: Snapshot[] = [];
    try {
      for (const { power } of sources) {
        taken.push(allocateSnapshot(this.#pool, this.#shape, this.#layout, this.#spec.dtype, power, step));
      }
      return taken;
    } catch (error) {
      if (!(error instanceof ShadowkeepError)) throw error;
      for (const snapshot of taken) snapshot.free();
      return undefined;
    }
  }

  #thin(held: readonly Snapshot[]): readonly Snapshot[] {
    const { kept, everySteps } = thin(held, this.#everySteps);
    this.#everySteps = everySteps;
    return kept;
  }

  *#fill(sources: readonly FoldedAverage[], taken: readonly Snapshot[]): Generator<void> {
    for (const [index, snapshot] of taken.entries()) {
      const source = sources[index];
      if (source !== undefined)
        yield* copyElements(this.#layout, tensorsOf(this.#layout, source.spec), source, snapshot);
    }
  }
}
