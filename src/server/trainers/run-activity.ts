import { OneAtATime } from '../loop/one-at-a-time.js';

/** Time over which commits and bytes per second are averaged. */
const RATE_WINDOW_MS = 60_000;

/** What a server has seen of one run since the server started. All times are of the monotonic clock. */
export class RunActivity {
  writersConnected = 0;
  readersConnected = 0;
  commits = 0;
  bytesReceived = 0;
  bytesSent = 0;
  /** The attachments of trainers to the run, one at a time. */
  readonly attaching = new OneAtATime();
  /** What changes the run's files, one at a time. */
  readonly saving = new OneAtATime();
  /** Newest step that is in a checkpoint on disk, so that a crash cannot take it back. */
  durableStep: number | undefined;
  /** For each undecided step that some writer has sent whole: the time when the first writer had. */
  readonly #waitingSince = new Map<number, number>();
  /** Generation and step of the last commit. The step alone is not enough: after a rewind a step is committed again. */
  #lastCommit = '';
  #lastCommitMs: number | undefined;
  /** The commits of the last minute: the time of each, and the bytes of the run that had been received by then. */
  #recent: { atMs: number; bytesReceived: number }[] = [];

  /** Says that a writer's stream has ended. Without any writer no step waits any more. */
  writerLeft(): void {
    this.writersConnected -= 1;
    if (this.writersConnected === 0) this.#waitingSince.clear();
  }

  /** Says that a step is committed. Each writer of the step says so; only the first counts. */
  committed(generation: number, step: number): void {
    const commit = `${generation}:${step}`;
    if (commit === this.#lastCommit) return;
    this.#lastCommit = commit;
    this.commits += 1;
    this.#lastCommitMs = performance.now();
    this.#recent.push({ atMs: this.#lastCommitMs, bytesReceived: this.bytesReceived });
    this.#forgetOld(this.#lastCommitMs);
  }

  /** Says that a writer has sent a step whole. The returned function says that the step is decided. */
  partArrived(step: number): () => void {
    if (!this.#waitingSince.has(step)) this.#waitingSince.set(step, performance.now());
    return () => this.#waitingSince.delete(step);
  }

  /** How long a step has waited since its first writer had sent it whole; 0 for a step that does not wait. */
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
