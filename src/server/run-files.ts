import type { Logger } from '../common/index.js';
import type { Run } from '../engine/index.js';
import {
  type DataDirLock,
  deleteRunFiles,
  listRuns,
  lockDataDir,
  openCheckpoint,
  writeCheckpoint,
} from '../storage/index.js';
import { checkpointContent, restoreRun } from './run-checkpoint.js';
import type { Service } from './service.js';

export interface LoadedRun {
  readonly run: string;
  /** Undefined: opened, and nothing committed yet. */
  readonly step: number | undefined;
}

/** The runs of one data directory: loaded when the server starts, saved when it stops. */
export class RunFiles {
  readonly #dataDir: string;
  readonly #lock: DataDirLock;
  readonly #log: Logger;
  /** The version of each run that is on the disk. */
  readonly #saved = new WeakMap<Run, { versionId: number; generation: number }>();

  private constructor(dataDir: string, lock: DataDirLock, log: Logger) {
    this.#dataDir = dataDir;
    this.#lock = lock;
    this.#log = log;
  }

  /** Takes the directory for this process; throws StorageError LOCKED when another server has it. */
  static async open(dataDir: string, log: Logger): Promise<RunFiles> {
    return new RunFiles(dataDir, await lockDataDir(dataDir), log);
  }

  /** Restores every run into the service. Throws rather than guesses when a checkpoint is not what it was. */
  async load(service: Service): Promise<LoadedRun[]> {
    const loaded: LoadedRun[] = [];
    for (const name of await listRuns(this.#dataDir)) {
      const checkpoint = await openCheckpoint(this.#dataDir, name);
      if (checkpoint === undefined) continue;
      try {
        const run = await restoreRun(service.table, name, checkpoint);
        service.activity(run).durableStep = run.committedStep;
        this.#remember(run);
        loaded.push({ run: name, step: run.committedStep });
        this.#log.info({ run: name, step: run.committedStep, path: checkpoint.path }, 'run loaded');
      } finally {
        await checkpoint.close();
      }
    }
    return loaded;
  }

  /** Writes every run that has changed; one that fails does not keep the others from being saved. */
  async save(service: Service): Promise<void> {
    const failures: unknown[] = [];
    for (const run of service.table.list()) {
      const saved = this.#saved.get(run);
      if (saved?.versionId === run.head.id && saved.generation === run.generation) continue;
      const { name } = run.spec;
      try {
        const { path, bytes, cleanupError } = await writeCheckpoint(this.#dataDir, name, checkpointContent(run));
        service.activity(run).durableStep = run.committedStep;
        this.#remember(run);
        this.#log.info({ run: name, step: run.committedStep, path, bytes }, 'run saved');
        if (cleanupError !== undefined) this.#log.warn({ run: name, err: cleanupError }, 'older checkpoints stay');
      } catch (error) {
        this.#log.error({ run: name, err: error }, 'run not saved');
        failures.push(error);
      }
    }
    if (failures.length > 0)
      throw new AggregateError(failures, `${failures.length} runs could not be saved: ${failures[0]}`);
  }

  async delete(run: string): Promise<void> {
    await deleteRunFiles(this.#dataDir, run);
  }

  /** Gives the directory free. */
  async close(): Promise<void> {
    await this.#lock.release();
  }

  #remember(run: Run): void {
    this.#saved.set(run, { versionId: run.head.id, generation: run.generation });
  }
}
