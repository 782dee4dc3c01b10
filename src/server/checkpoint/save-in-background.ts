import type { Run } from '../../engine/index.js';
import { StorageFatalError } from '../../storage/index.js';
import type { Service } from '../service.js';
import type { RunFiles } from './run-files.js';

/**
 * Entries of tensors that a checkpoint written beside a training may have, over all its files. They become JSON in one go:
 * so many hold the event loop for about 50 ms, which is as long as others may wait.
 */
const ENTRY_COUNT_MAX = 8_192;

/** Ends the writing of a run when the server stops: it is written again then, as it is at the end. */
class Stopped extends Error {}

/**
 * Writes the runs that have changed while they are trained, so that a crash takes back no more than the time between two
 * rounds. A run that the disk refuses goes on training: its durable step stands still, which the log says once, and it is
 * tried again in the next round.
 */
export class BackgroundSaver {
  readonly #service: Service;
  readonly #files: RunFiles;
  readonly #intervalMs: number;
  /** The runs that are too large to be written beside a training. The log has said so. */
  readonly #tooLarge = new WeakSet<Run>();
  /** The runs whose last writing failed. */
  readonly #failing = new WeakSet<Run>();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #isStopped = false;

  /** `intervalMs`: from the end of one round to the beginning of the next; 0: no rounds. */
  constructor(service: Service, files: RunFiles, intervalMs: number) {
    this.#service = service;
    this.#files = files;
    this.#intervalMs = intervalMs;
    this.#schedule();
  }

  /** Ends the round that is under way; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  #schedule(): void {
    if (this.#isStopped || this.#intervalMs === 0) return;
    this.#timer = setTimeout(() => {
      this.#round = this.#writeAll().then(() => this.#schedule());
    }, this.#intervalMs).unref();
  }

  async #writeAll(): Promise<void> {
    for (const run of this.#service.table.list()) {
      // There is nothing that a crash could take back before the first commit.
      if (this.#isStopped || run.committedStep === undefined || !this.#files.hasChanged(run)) continue;
      if (entryCountOf(run) > ENTRY_COUNT_MAX) this.#tellTooLarge(run);
      else await this.#write(run);
    }
  }

  async #write(run: Run): Promise<void> {
    try {
      await this.#files.write(this.#service, run, () => {
        if (this.#isStopped) throw new Stopped();
      });
      if (this.#failing.delete(run)) this.#service.log.info(this.#place(run), 'run is written again');
    } catch (error) {
      if (error instanceof Stopped || run.isDeleted) return;
      // After a failed fsync nobody knows what the disk has: what is written next could not be trusted either.
      if (error instanceof StorageFatalError) this.#isStopped = true;
      if (this.#failing.has(run) && !this.#isStopped) return;
      this.#failing.add(run);
      const what = this.#isStopped ? 'no run is written any more' : 'it is tried again';
      const problem = `run not written: its durable step stands still, a crash would take back what came after it; ${what}`;
      this.#service.log.error({ ...this.#place(run), err: error }, problem);
    }
  }

  #tellTooLarge(run: Run): void {
    if (this.#tooLarge.has(run)) return;
    this.#tooLarge.add(run);
    const [entries, entriesMax] = [entryCountOf(run), ENTRY_COUNT_MAX];
    const problem =
      'run has too many tensors to be written while it is trained: a crash takes back all since the last stop';
    this.#service.log.warn({ ...this.#place(run), entries, entriesMax }, problem);
  }

  #place(run: Run): object {
    const { durableStep } = this.#service.activity(run);
    return { run: run.spec.name, committedStep: run.committedStep, durableStep };
  }
}

/** At most so many entries of tensors are in the files of a run: each average, each snapshot and the copied tensors have one. */
function entryCountOf({ layout, head }: Run): number {
  return layout.tensors.length * (head.shadows.length + head.snapshots.length + 1);
}
