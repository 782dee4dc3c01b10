import type { PagePool } from './page-pool.js';
import type { PageTable } from './plane.js';

/** What an average has been through, as of one version. */
export interface AverageState {
  /** Updates folded. */
  readonly numUpdates: number;
  /** w_k of the last commit, 1 when an initial push assigned; undefined before the first. */
  readonly weight: number | undefined;
}

/**
 * The state of a run after one commit; it never changes. A version holds one reference on each page of its tables. It
 * lives while it is the current one or a reader pins it, and then gives its references back.
 */
export class Version {
  readonly id: number;
  /** Undefined: the run as it was opened, before its first commit; nobody reads that. */
  readonly step: number | undefined;
  readonly generation: number;
  readonly states: readonly AverageState[];
  /** One per plane. */
  readonly tables: readonly PageTable[];
  readonly #pool: PagePool;
  readonly #readers = new Set<Reader>();
  #isCurrent = true;
  #isReleased = false;

  constructor(pool: PagePool, fields: Pick<Version, 'id' | 'step' | 'generation' | 'states' | 'tables'>) {
    this.#pool = pool;
    this.id = fields.id;
    this.step = fields.step;
    this.generation = fields.generation;
    this.states = fields.states;
    this.tables = fields.tables;
    for (const page of this.tables.flat()) page.refs += 1;
  }

  get isPinned(): boolean {
    return this.#readers.size > 0;
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
    for (const page of this.tables.flat()) {
      page.refs -= 1;
      if (page.refs === 0) this.#pool.free(page);
    }
  }
}

export type EvictionReason = 'MEMORY' | 'DELETED';

/** One reader's hold on a version. After an eviction its pages belong to others: check before each access. */
export class Reader {
  readonly version: Version;
  readonly #unpin: () => void;
  #evicted: EvictionReason | undefined;
  #isOpen = true;

  constructor(version: Version, unpin: () => void) {
    this.version = version;
    this.#unpin = unpin;
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
