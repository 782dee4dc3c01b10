import { OneAtATime } from '../loop/one-at-a-time.js';

/** Time over which rates are taken. */
const RATE_WINDOW_MS = 60_000;

/** What a server has seen of one run since it started; the clock is monotonic. */
export class RunActivity {
  writersConnected = 0;
  readersConnected = 0;
  commits = 0;
  bytesReceived = 0;
  bytesSent = 0;
  readonly attaching = new OneAtATime();
  /** Newest step that a crash cannot take back. */
  durableStep: number | undefined;
  /** Steps that a writer has sent whole and others have not: since when. */
  readonly #waitingSince = new Map<number, number>();
  /** Generation and step: a rewind commits a step number again. */
  #lastCommit = '';
  #lastCommitMs: number | undefined;
  /** Commits of the last minute: when, and the bytes received until then. */
  #recent: { atMs: number; bytesReceived: number }[] = [];

  /** A writer's stream has ended; with the last of them nothing waits any more. */
  writerLeft(): void {
    this.writersConnected -= 1;
    if (this.writersConnected === 0) this.#waitingSince.clear();
  }

  /** Each writer of a step says that it is committed. */
  committed(generation: number, step: number): void {
    const commit = `${generation}:${step}`;
    if (commit === this.#lastCommit) return;
    this.#lastCommit = commit;
    this.commits += 1;
    this.#lastCommitMs = performance.now();
    this.#recent.push({ atMs: this.#lastCommitMs, bytesReceived: this.bytesReceived });
    this.#forgetOld(this.#lastCommitMs);
  }

  /** A writer has sent a step whole; returns what to do when the step is decided. */
  partArrived(step: number): () => void {
    if (!this.#waitingSince.has(step)) this.#waitingSince.set(step, performance.now());
    return () => this.#waitingSince.delete(step);
  }

  /** How long a step has waited for its last writer. */
  waitedMs(step: number): number {
    return Math.round(performance.now() - (this.#waitingSince.get(step) ?? performance.now()));
  }

  get sinceCommitMs(): number | undefined {
    return this.#lastCommitMs === undefined ? undefined : Math.round(performance.now() - this.#lastCommitMs);
  }

  /** Commits and received bytes per second over the last minute; 0 while there are fewer than two commits in it. */
  get rates(): { commitsPerSecond: number; receivedBytesPerSecond: number } {
    this.#forgetOld(performance.now());
    const first = this.#recent[0];
    const last = this.#recent.at(-1);
    if (first === undefined || last === undefined || last.atMs <= first.atMs) {
      return { commitsPerSecond: 0, receivedBytesPerSecond: 0 };
    }
    const seconds = (last.atMs - first.atMs) / 1_000;
    return {
      commitsPerSecond: (this.#recent.length - 1) / seconds,
      receivedBytesPerSecond: (last.bytesReceived - first.bytesReceived) / seconds,
    };
  }

  #forgetOld(nowMs: number): void {
    const kept = this.#recent.findIndex(({ atMs }) => nowMs - atMs <= RATE_WINDOW_MS);
    this.#recent.splice(0, kept === -1 ? this.#recent.length : kept);
  }
}
