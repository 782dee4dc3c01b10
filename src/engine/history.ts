import type { PagePool } from './page-pool.js';
import { Version, type VersionContent } from './version.js';

/** The version that readers see, and the older ones that they still hold. */
export class History {
  readonly #pool: PagePool;
  readonly #nextVersionId: () => number;
  #head: Version;
  /** Versions that readers still hold, oldest first. */
  #retired: Version[] = [];

  constructor(pool: PagePool, nextVersionId: () => number, content: VersionContent) {
    this.#pool = pool;
    this.#nextVersionId = nextVersionId;
    this.#head = new Version(pool, nextVersionId(), content);
  }

  get head(): Version {
    return this.#head;
  }

  /** The committed versions that readers can get: the newest, then those that other readers hold. */
  get versions(): readonly Version[] {
    const held = this.#retired.filter((version) => version.isPinned).reverse();
    return [this.#head, ...held].filter((version) => version.step !== undefined);
  }

  /** A new version takes the head's place. */
  replace(changes: Partial<VersionContent>): void {
    const old = this.#head;
    const { step, generation, shadows, copied, snapshots } = old;
    const content = { step, generation, shadows, copied, snapshots, ...changes };
    this.#head = new Version(this.#pool, this.#nextVersionId(), content);
    this.#retired = [...this.#retired, old].filter((version) => version.isPinned);
    old.retire();
  }

  /** Ends the readers of the oldest version that has any; false when there are none. */
  evictOldest(): boolean {
    const oldest = this.#retired[0] ?? (this.#head.isPinned ? this.#head : undefined);
    oldest?.evict('MEMORY');
    this.#retired = this.#retired.filter((version) => version.isPinned);
    return oldest !== undefined;
  }

  /** Ends every reader: the run is deleted. */
  evictAll(): void {
    for (const version of [...this.#retired, this.#head]) version.evict('DELETED');
  }
}
