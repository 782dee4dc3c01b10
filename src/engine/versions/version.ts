import type { AverageSpec, Progress } from '../averages/index.js';
import type { Movement } from '../fold/movement.js';
import type { Page, PagePool } from '../memory/page-pool.js';
import type { PageTable, Plane, ShadowPlane } from '../memory/plane.js';
import type { Snapshot } from '../post-hoc/snapshot.js';

/** What an average has been through, as of one version. */
export interface AverageState extends Progress {
  /** How the last folded update moved it. */
  readonly movement: Movement | undefined;
  /** The committed step at which it was added; undefined: the run was opened with it. */
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
  /** Undefined: the run as it was opened, before its first commit; nobody reads that. */
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
  /** The run was rewound to an older one: new readers do not get it. */
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

  /** Whether it is needed when it is not the current one. */
  get isPinned(): boolean {
    return this.isRead || this.#isRetained;
  }

  get isRead(): boolean {
    return this.#readers.size > 0;
  }

  get isRetained(): boolean {
    return this.#isRetained;
  }

  /** Whether it is kept when no reader holds it. */
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

  /** Whether a page of this version is needed as it is once the version is followed by another. */
  holds(page: Page): boolean {
    return page.refs > 1 || this.isPinned;
  }

  /** The reader that has held it for the longest time. */
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

  /** Another version has taken its place. */
  retire(): void {
    this.#isCurrent = false;
    this.#releaseIfUnused();
  }

  /** Ends every reader. */
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
  /** Bytes of the read that have gone out: whoever waits for it sees whether it moves. */
  sentBytes = 0;

  constructor(version: Version, unpin: () => void) {
    this.version = version;
    this.#unpin = unpin;
  }

  /** Whether it still holds the version. */
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
