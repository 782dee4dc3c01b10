import { StorageFatalError } from '../../storage/index.js';
import type { Service } from '../service.js';
import type { RunFiles, UnsavedRun } from './run-files.js';

/** Pause between two attempts to save: how soon the server notices that a person has freed room or a disk is back. */
const RETRY_MS = 1_000;

/**
 * Writes all runs when the server stops. A run that the disk refuses exists only in memory, so for the stop grace the
 * server tries again and answers reads, so that a person can save the averages elsewhere. After a failed fsync it does
 * not try again. `target` is the address of this server, for the log. Throws when runs are lost.
 */
export async function saveAtStop(service: Service, files: RunFiles, target: string): Promise<void> {
  const deadlineMs = performance.now() + service.options.stopGraceMs;
  for (let attempt = 1; ; attempt++) {
    const unsaved = await files.save(service);
    if (unsaved.length === 0) return;
    const leftMs = Math.round(deadlineMs - performance.now());
    const isOver = leftMs <= 0 || unsaved.every(({ error }) => error instanceof StorageFatalError);
    if (attempt === 1 || isOver) for (const each of unsaved) tell(service, each, target, isOver ? 0 : leftMs);
    if (isOver) {
      const errors = unsaved.map(({ error }) => error);
      throw new AggregateError(errors, `${errors.length} runs could not be saved: ${errors[0]}`);
    }
    service.answerReads();
    await new Promise((resolve) => setTimeout(resolve, Math.min(RETRY_MS, leftMs)));
  }
}

function tell(service: Service, { run, error }: UnsavedRun, target: string, retryMs: number): void {
  const { name } = run.spec;
  if (retryMs === 0) {
    service.log.error(
      { run: name, step: run.committedStep, err: error },
      'run not saved: it is lost with this process',
    );
    return;
  }
  const elsewhere = run.averages.map(
    (average) =>
      `shadowkeep pull ${name} --average ${average.name} --target ${target} --out ${name}-${average.name}.safetensors`,
  );
  service.log.error(
    { run: name, step: run.committedStep, retryMs, elsewhere, err: error },
    'run not saved: give the data directory room and it is tried again, or save its averages elsewhere meanwhile',
  );
}
