import type { AverageSpec, Progress } from '../averages/index.js';
import type { Movement } from '../fold/movement.js';
import type { Page, PagePool } from '../memory/page-pool.js';
import type { PageTable, Plane, ShadowPlane } from '../memory/plane.js';
import type { Snapshot } from '../post-hoc/snapshot.js';

/** The state of an average in one version: what it has been through. */
export interface AverageState extends Progress {
  /** How the last folded update moved the average. */
  readonly movement: Movement | undefined;
  /** The committed step at which the average was added; undefined when the run was opened with it. */
  readonly addedAtStep: number | undefined;
}

/** One average of a version. */
export interface Shadow {
  readonly spec: AverageSpec;
  readonly state: AverageState;
  readonly plane: ShadowPlane;
  readonly table: PageTable;
}

/** What a version is made of. */
export interface VersionContent {
  /** The step of the version; undefined before the first commit of the run, when nobody reads. */
  readonly step: number | undefined;
  readonly generation: number;
  readonly shadows: readonly Shadow[];
  readonly copied: { readonly plane: Plane; readonly table: PageTable };
  readonly snapshots: readonly Snapshot[];
}

/**
 * The state of a run after one commit; it never changes. A version holds one reference on each page of its tables and on
 * each of its snapshots. It lives while it is the current one or a reader pins it, and then gives them back.
 */
export class Version implements VersionContent {
  readonly id: number;
  readonly step: number | undefined;
  readonly generation: number;
  readonly shadows: readonly Shadow[];
  readonly copied: VersionContent['copied'];
  readonly snapshots: readonly Snapshot[];
  readonly #pool: PagePool;
  readonly #readers = new Set<Reader>();
  /** Whether the run was rewound to an older version. New readers do not get an undone version. */
  isUndone = false;
  #isCurrent = true;
  #isRetained = false;
  #isReleased = false;

  constructor(pool: PagePool, id: number, content: VersionContent) {
    this.#pool = pool;
    this.id = id;
    this.step = content.step;
    this.generation = content.generation;
    this.shadows = content.shadows;
    this.copied = content.copied;
    this.snapshots = content.snapshots;
    for (const page of this.pages()) page.refs += 1;
    for (const snapshot of this.snapshots) snapshot.hold();
  }

  /** Whether the version is needed although it may not be the current one. */
  get isPinned(): boolean {
    return this.isRead || this.#isRetained;
  }

  get isRead(): boolean {
    return this.#readers.size > 0;
  }

  get isRetained(): boolean {
    return this.#isRetained;
  }

  /** Whether the version is kept when no reader holds it. */
  set isRetained(isRetained: boolean) {
    this.#isRetained = isRetained;
    this.#releaseIfUnused();
  }

  /** The pages of all tables. */
  *pages(): Generator<Page> {
    for (const table of [...this.shadows.map((shadow) => shadow.table), this.copied.table]) {
      for (const page of table) if (page !== undefined) yield page;
    }
  }

  /** Whether a page of this version must stay as it is when another version follows. */
  holds(page: Page): boolean {
    return page.refs > 1 || this.isPinned;
  }

  /** The reader that has held the version for the longest time. */
  get firstReader(): Reader | undefined {
    const [first] = this.#readers;
    return first;
  }

  pin(): Reader {
    const reader = new Reader(this, () => {
      this.#readers.delete(reader);
      this.#releaseIfUnused();
    });
    this.#readers.add(reader);
    return reader;
  }

  /** Says that another version has taken the place of this one. */
  retire(): void {
    this.#isCurrent = false;
    this.#releaseIfUnused();
  }

  /** Ends every reader of the version. */
  evict(why: EvictionReason): void {
    for (const reader of [...this.#readers]) reader.evict(why);
  }

  #releaseIfUnused(): void {
    if (this.#isCurrent || this.isPinned || this.#isReleased) return;
    this.#isReleased = true;
    for (const page of this.pages()) {
      page.refs -= 1;
      if (page.refs === 0) this.#pool.free(page);
    }
    for (const snapshot of this.snapshots) snapshot.release();
  }
}

export type EvictionReason = 'MEMORY' | 'DELETED';

/** One reader's hold on a version. After an eviction its pages belong to others: check before each access. */
export class Reader {
  readonly version: Version;
  readonly #unpin: () => void;
  #evicted: EvictionReason | undefined;
  #isOpen = true;
  /** Number of bytes of the read that have gone out. Whoever waits for the read sees whether it makes progress. */
  sentBytes = 0;

  constructor(version: Version, unpin: () => void) {
    this.version = version;
    this.#unpin = unpin;
  }

  /** Whether the reader still holds the version. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  get evicted(): EvictionReason | undefined {
    return this.#evicted;
  }

  evict(why: EvictionReason): void {
    this.#evicted = why;
    this.release();
  }

  /** Idempotent. */
  release(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#unpin();
  }
}
