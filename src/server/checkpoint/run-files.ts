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
import { checkpointContent, restoreRun } from './run-checkpoint.js';
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
  /** Where the durable step of a run is noted. */
  activity(run: Run): Pick<RunActivity, 'durableStep'>;
}

/** Loads the runs of a data directory when the server starts, and saves them when it stops. */
export class RunFiles {
  readonly #dataDir: string;
  readonly #lock: DataDirLock;
  readonly #log: Logger;
  /** For each run that is on disk: the version and generation there. A run without an entry is gone after a crash. */
  readonly #saved = new WeakMap<Run, { versionId: number; generation: number }>();

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
      const saved = this.#saved.get(run);
      if (saved?.versionId === run.head.id && saved.generation === run.generation) continue;
      const { name } = run.spec;
      try {
        const { path, bytes, cleanupError } = await writeCheckpoint(this.#dataDir, name, checkpointContent(run));
        service.activity(run).durableStep = run.committedStep;
        this.#remember(run);
        this.#log.info({ run: name, step: run.committedStep, path, bytes }, 'run saved');
        // lineage.json keeps the issued generations fenced even when a person goes back to an older checkpoint.
        await writeLineage(this.#dataDir, name, run.lineage);
        if (cleanupError !== undefined) this.#log.warn({ run: name, err: cleanupError }, 'older checkpoints stay');
      } catch (error) {
        failures.push({ run, error });
      }
    }
    return failures;
  }

  /**
   * Writes the lineage that `run` is about to have. Does nothing for a run without a checkpoint, which no crash can
   * bring back with an old lineage. Throws DISK_REFUSED.
   */
  async keepLineage(run: Run, lineage: LineageState): Promise<void> {
    if (!this.#saved.has(run)) return;
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
    try {
      this.#warnOfRest(await deleteRunFiles(this.#dataDir, name));
    } catch (error) {
      // It is unknown what the disk has of the run now, so the next save must write the run again.
      const run = service.table.find(name);
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
      this.#remember(run);
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

  #remember(run: Run): void {
    this.#saved.set(run, { versionId: run.head.id, generation: run.generation });
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
