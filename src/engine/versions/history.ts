import type { PagePool } from '../memory/page-pool.js';
import type { RetentionSpec } from '../run-spec.js';
import { Version, type VersionContent } from './version.js';

/** The version that readers see, and the older ones that they still hold. */
export class History {
  readonly #pool: PagePool;
  readonly #nextVersionId: () => number;
  #head: Version;
  /** Versions that readers still hold, or that are retained, oldest first. */
  #retired: Version[] = [];
  /** Says which versions are retained; undefined when none is. */
  retain: RetentionSpec | undefined;

  constructor(pool: PagePool, nextVersionId: () => number, content: VersionContent, retain: RetentionSpec | undefined) {
    this.retain = retain;
    this.#pool = pool;
    this.#nextVersionId = nextVersionId;
    this.#head = new Version(pool, nextVersionId(), content);
  }

  get head(): Version {
    return this.#head;
  }

  /** The committed versions that readers can get: the newest, then those that other readers hold. */
  get versions(): readonly Version[] {
    const held = this.#retired.filter(({ isPinned, isUndone }) => isPinned && !isUndone).reverse();
    return [this.#head, ...held].filter((version) => version.step !== undefined);
  }

  /** The retained versions, oldest first; the head may be one of them. */
  get retained(): readonly Version[] {
    return [...this.#retired, this.#head].filter(({ isRetained }) => isRetained);
  }

  /** The newest version at or below a step that the run can go on from: the head, or a retained one. */
  newestUntil(step: number): Version | undefined {
    const isBefore = (version: Version): boolean => version.step !== undefined && version.step <= step;
    return isBefore(this.#head) ? this.#head : this.retained.findLast(isBefore);
  }

  /**
   * Puts a new version, of the next step, in the head's place. Retains it where that is due, and gives up older retained
   * ones.
   */
  commit(changes: Partial<VersionContent>): void {
    this.replace(changes);
    const { retain } = this;
    const { step } = this.#head;
    if (retain === undefined || step === undefined || step % retain.everySteps !== 0) return;
    this.#head.isRetained = true;
    for (const version of this.retained.slice(0, -retain.countMax)) this.#release(version);
  }

  /** Puts a retained version in the head's place, where it stays retained. The versions after it are undone. */
  rewind(version: Version, generation: number): void {
    const { step, shadows, copied, snapshots } = version;
    this.replace({ step, shadows, copied, snapshots, generation });
    this.#head.isRetained = true;
    for (const other of this.#retired.slice(this.#retired.indexOf(version))) {
      other.isUndone = other !== version;
      other.isRetained = false;
    }
    this.#forgetUnused();
  }

  /** Puts a new version in the head's place. */
  replace(changes: Partial<VersionContent>): void {
    const old = this.#head;
    const { step, generation, shadows, copied, snapshots } = old;
    const content = { step, generation, shadows, copied, snapshots, ...changes };
    this.#head = new Version(this.#pool, this.#nextVersionId(), content);
    this.#retired.push(old);
    old.retire();
    this.#forgetUnused();
  }

  /** The oldest version that readers hold, which is the first that they lose. */
  get oldestRead(): Version | undefined {
    return [...this.#retired, this.#head].find(({ isRead }) => isRead);
  }

  /**
   * Ends the readers of the oldest version that has any, or else gives up the oldest retained version. Returns false when
   * there is neither.
   */
  evictOldest(): boolean {
    const read = this.oldestRead;
    if (read !== undefined) {
      read.evict('MEMORY');
      this.#forgetUnused();
      return true;
    }
    const [retained] = this.retained;
    if (retained !== undefined) this.#release(retained);
    return retained !== undefined;
  }

  /** Ends every reader, because the run is deleted. */
  evictAll(): void {
    for (const version of [...this.#retired, this.#head]) version.evict('DELETED');
  }

  #release(version: Version): void {
    version.isRetained = false;
    this.#forgetUnused();
  }

  #forgetUnused(): void {
    this.#retired = this.#retired.filter(({ isPinned }) => isPinned);
  }
}
