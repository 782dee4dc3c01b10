import { type Logger, quote, ShadowkeepError } from '../../common/index.js';
import type { LineageState, Run, RunTable } from '../../engine/index.js';
import {
  type DataDirLock,
  type DataDirState,
  deleteRunFiles,
  listRuns,
  lockDataDir,
  openCheckpoint,
  probeDataDir,
  readLineage,
  removeDeleted,
  StorageError,
  systemReason,
  writeCheckpoint,
  writeLineage,
} from '../../storage/index.js';
import type { RunActivity } from '../trainers/run-activity.js';
import { freezeRun, isBehind, placeOf, type RunPlace, rewoundError } from './frozen-run.js';
import { restoreRun } from './run-checkpoint.js';
import { readSavedLineage } from './saved-run.js';

export interface LoadedRun {
  readonly run: string;
  /** The committed step; undefined for a run that was opened and has committed nothing yet. */
  readonly step: number | undefined;
}

export interface UnsavedRun {
  readonly run: Run;
  readonly error: unknown;
}

/** The part of the service that its files need: the table of runs, and what the server knows of each run. */
export interface RunHolder {
  readonly table: RunTable;
  /** Where the durable step of a run is noted, and whose turn it is to attach or to write. */
  activity(run: Run): Pick<RunActivity, 'durableStep' | 'attaching' | 'saving'>;
}

/** Loads the runs of a data directory when the server starts, and saves them when it stops. */
export class RunFiles {
  readonly #dataDir: string;
  readonly #lock: DataDirLock;
  readonly #log: Logger;
  /** For each run that is on disk: the version and generation there. A run without an entry is gone after a crash. */
  readonly #saved = new WeakMap<Run, RunPlace>();
  /** The runs whose lineage is on disk: it is there before their first checkpoint is. */
  readonly #hasLineage = new WeakSet<Run>();
  /** The runs that are being deleted: a write of them that is under way ends. */
  readonly #unwanted = new WeakSet<Run>();

  private constructor(lock: DataDirLock, log: Logger) {
    this.#dataDir = lock.path;
    this.#lock = lock;
    this.#log = log;
  }

  /**
   * Locks the directory for this process and checks that it can keep runs of `budgetBytes` in all; too little room is
   * only warned of. Throws StorageError: LOCKED when another server has the directory.
   */
  static async open(dataDir: string, budgetBytes: number, log: Logger): Promise<RunFiles> {
    const lock = await lockDataDir(dataDir);
    try {
      warnOf(await probeDataDir(lock.path), lock.path, budgetBytes, log);
    } catch (error) {
      await lock.release();
      throw error;
    }
    return new RunFiles(lock, log);
  }

  /**
   * Restores every run of the directory into the service. A damaged run is set aside and not repaired by guessing; the
   * other runs are served. Throws MEMORY_EXHAUSTED when the runs do not fit.
   */
  async load(service: RunHolder): Promise<LoadedRun[]> {
    this.#warnOfRest(await removeDeleted(this.#dataDir));
    const loaded: LoadedRun[] = [];
    for (const name of await listRuns(this.#dataDir)) {
      try {
        const run = await this.#loadRun(service, name);
        if (run !== undefined) loaded.push({ run: name, step: run.committedStep });
      } catch (error) {
        if (service.table.find(name) !== undefined) service.table.delete(name);
        if (error instanceof ShadowkeepError && error.reason === 'MEMORY_EXHAUSTED') throw error;
        this.#log.error({ run: name, err: error }, 'run not loaded: it is set aside, nothing of it is changed');
        service.table.setAside(name, this.#problemOf(error));
      }
    }
    return loaded;
  }

  /** Writes every run that has changed since it was written last. Returns the runs whose writing failed. */
  async save(service: RunHolder): Promise<UnsavedRun[]> {
    const failures: UnsavedRun[] = [];
    for (const run of service.table.list()) {
      if (!this.hasChanged(run)) continue;
      try {
        await this.write(service, run);
      } catch (error) {
        failures.push({ run, error });
      }
    }
    return failures;
  }

  /** Whether a run has changed since it was written last. */
  hasChanged(run: Run): boolean {
    const saved = this.#saved.get(run);
    return saved?.versionId !== run.head.id || saved.generation !== run.generation;
  }

  /**
   * Writes the head of a run, while it is trained or not: a reader holds the version. `checkWanted` is called before each
   * piece, and what it throws ends the writing. Throws StorageError, StorageFatalError, and VERSION_EVICTED when a step took
   * the version's memory.
   */
  async write(service: RunHolder, run: Run, checkWanted: () => void = () => undefined): Promise<void> {
    await service.activity(run).saving.run(async () => {
      const checkIsWanted = (): void => {
        if (this.#unwanted.has(run)) throw run.deletedError();
        checkWanted();
      };
      checkIsWanted();
      const { reader, content, place } = await run.whenSettled(() => freezeRun(run, checkIsWanted));
      try {
        const { name } = run.spec;
        const beforePublish = async (): Promise<void> => await this.#publishLineage(service, run, content.step);
        const { path, bytes, cleanupError } = await writeCheckpoint(this.#dataDir, name, { ...content, beforePublish });
        if (!isBehind(run, content.step)) service.activity(run).durableStep = content.step;
        this.#saved.set(run, place);
        this.#log.info({ run: name, step: content.step, path, bytes }, 'run saved');
        if (cleanupError !== undefined) this.#log.warn({ run: name, err: cleanupError }, 'older checkpoints stay');
      } finally {
        reader.release();
      }
    });
  }

  /**
   * Writes the lineage that `run` is about to have. Does nothing for a run without a checkpoint, which no crash can
   * bring back with an old lineage. Throws DISK_REFUSED.
   */
  async keepLineage(run: Run, lineage: LineageState): Promise<void> {
    if (!this.#hasLineage.has(run)) return;
    const { name } = run.spec;
    try {
      await writeLineage(this.#dataDir, name, lineage);
    } catch (error) {
      if (run.isDeleted) throw run.deletedError();
      throw refusedError(`a new generation of run ${quote(name)} could not be written, so it was not opened`, error);
    }
  }

  /** Deletes the files of a run. Throws DISK_REFUSED when the disk refuses; the run then goes on as it was. */
  async delete(service: RunHolder, name: string): Promise<void> {
    const run = service.table.find(name);
    const remove = async (): Promise<void> => this.#warnOfRest(await deleteRunFiles(this.#dataDir, name));
    try {
      if (run !== undefined) this.#unwanted.add(run);
      // A write that is under way would bring the files back.
      await (run === undefined ? remove() : service.activity(run).saving.run(remove));
    } catch (error) {
      if (run !== undefined) this.#unwanted.delete(run);
      // It is unknown what the disk has of the run now, so the next save must write the run again.
      const saved = run && this.#saved.get(run);
      if (run && saved) this.#saved.set(run, { ...saved, versionId: 0 });
      throw refusedError(`run ${quote(name)} was not deleted and goes on as it was`, error);
    }
  }

  /** Releases the lock of the directory. */
  async close(): Promise<void> {
    await this.#lock.release();
  }

  async #loadRun(service: RunHolder, name: string): Promise<Run | undefined> {
    const checkpoint = await openCheckpoint(this.#dataDir, name);
    if (checkpoint === undefined) return undefined;
    try {
      const kept = await readLineage(this.#dataDir, name);
      const lineage = kept && readSavedLineage(kept.lineage, kept.path);
      const run = await restoreRun(service.table, name, checkpoint);
      if (lineage !== undefined && lineage.generation > run.generation) run.restoreLineage(lineage);
      service.activity(run).durableStep = run.committedStep;
      this.#saved.set(run, placeOf(run));
      this.#hasLineage.add(run);
      this.#log.info({ run: name, step: run.committedStep, path: checkpoint.path }, 'run loaded');
      return run;
    } finally {
      await checkpoint.close();
    }
  }

  /** What a peer is told of a run that could not be loaded. Paths are given relative to the data directory. */
  #problemOf(error: unknown): string {
    if (!(error instanceof StorageError)) return `its checkpoint cannot be restored (${error})`;
    return error.message.replaceAll(`${this.#dataDir}/`, '');
  }

  #warnOfRest(error: StorageError | undefined): void {
    if (error !== undefined) this.#log.warn({ err: error }, 'files of deleted runs still take room');
  }

  /**
   * Keeps the generations that were issued fenced, even when a person goes back to an older checkpoint. No trainer is
   * attached meanwhile: its lineage would be older on the disk than it was told.
   */
  async #publishLineage(service: RunHolder, run: Run, step: number | undefined): Promise<void> {
    await service.activity(run).attaching.run(async () => {
      if (isBehind(run, step)) throw rewoundError(run, step);
      await writeLineage(this.#dataDir, run.spec.name, run.lineage);
      this.#hasLineage.add(run);
    });
  }
}

function warnOf({ freeBytes, isWritableByAll }: DataDirState, path: string, budgetBytes: number, log: Logger): void {
  if (isWritableByAll) {
    log.warn({ path }, 'everybody on this machine may change the data directory: chmod 700 it');
  }
  if (freeBytes < budgetBytes) {
    const problem = 'the data directory has less room than the memory budget: runs that fill it could not be saved';
    log.warn({ path, freeBytes, budgetBytes }, problem);
  }
}

/** The error that tells a peer why the disk refused. It has the system's reason and no paths, which are in the log. */
function refusedError(what: string, cause: unknown): ShadowkeepError {
  const reason = systemReason(cause);
  return new ShadowkeepError(
    'DISK_REFUSED',
    `${what}: the data directory refuses it (${reason}); give it room or make it writable, and try again`,
    { metadata: { reason }, cause },
  );
}
