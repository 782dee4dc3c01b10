import type { FloatDType } from '../../common/index.js';
import { type DigestValue, EMPTY_DIGEST, mergeDigests, type StepDigest, sameDigest } from '../fold/digest.js';

/** Number of committed steps whose digest is kept. A trainer that goes back further has lost more than its place. */
const DIGEST_COUNT_MAX = 1_024;

/** Keeps digests of committed steps, to tell a step that is sent again from another one with the same number. */
export class StepDigests {
  readonly #digests = new Map<number, StepDigest>();

  get state(): readonly StepDigest[] {
    return [...this.#digests.values()];
  }

  restore(state: readonly StepDigest[]): void {
    for (const digest of state) this.record(digest);
  }

  record(digest: StepDigest): void {
    this.#digests.set(digest.step, digest);
    const [oldest] = this.#digests.keys();
    if (this.#digests.size > DIGEST_COUNT_MAX && oldest !== undefined) this.#digests.delete(oldest);
  }

  /** Forgets the steps after `step`, to which the trainer goes back. */
  rewind(step: number | undefined): void {
    for (const later of [...this.#digests.keys()]) if (step === undefined || later > step) this.#digests.delete(later);
  }

  /**
   * Whether a committed step may have had this content. It may if its digest is not known, or was taken in another dtype.
   */
  mayBe(step: number, wireDType: FloatDType | undefined, digest: DigestValue): boolean {
    const ours = this.#digests.get(step);
    return ours === undefined || ours.wireDType !== wireDType || sameDigest(ours, digest);
  }
}

/** Collects steps that writers send again. The content of such a step is known when all writers have sent their part. */
export class Replays {
  readonly #writerCount: number;
  readonly #replays = new Map<number, { digest: DigestValue; readonly writers: Set<number> }>();

  constructor(writerCount: number) {
    this.#writerCount = writerCount;
  }

  /** Adds the part of a writer that has come whole. Returns the digest of the step when this part was the last one. */
  add(step: number, writer: number, digest: DigestValue): DigestValue | undefined {
    const replay = this.#replays.get(step) ?? { digest: EMPTY_DIGEST, writers: new Set() };
    if (replay.writers.has(writer)) return undefined;
    replay.writers.add(writer);
    replay.digest = mergeDigests(replay.digest, digest);
    this.#replays.set(step, replay);
    const [oldest] = this.#replays.keys();
    if (this.#replays.size > DIGEST_COUNT_MAX && oldest !== undefined) this.#replays.delete(oldest);
    if (replay.writers.size < this.#writerCount) return undefined;
    this.#replays.delete(step);
    return replay.digest;
  }
}
