import { quote, ShadowkeepError } from '../../common/index.js';
import type { Reader, Run } from '../../engine/index.js';
import type { CheckpointContent } from '../../storage/index.js';
import { checkpointContent } from './run-checkpoint.js';

/** The moment of a run that a checkpoint holds. */
export interface RunPlace {
  readonly versionId: number;
  readonly generation: number;
}

/** The head of a run as it was at one moment. Release the reader when it is written. */
export interface FrozenRun {
  readonly reader: Reader;
  readonly content: CheckpointContent;
  readonly place: RunPlace;
}

export function placeOf({ head, generation }: Run): RunPlace {
  return { versionId: head.id, generation };
}

/**
 * Holds the head of a run as a reader does, so that the run goes on while the head is written. Call it \`whenSettled\`.
 * Before each piece is read, the content calls \`checkWanted\`, and throws VERSION_EVICTED when a step took the version's
 * memory.
 */
export function freezeRun(run: Run, checkWanted: () => void): FrozenRun {
  const reader = run.pin(run.head);
  const content = checkpointContent(run, (pieceBytes) => {
    checkWanted();
    if (reader.evicted !== undefined) throw evictedError(run, content.step);
    // A step that lacks memory waits for a reader that makes progress.
    reader.sentBytes += pieceBytes;
  });
  return { reader, content, place: placeOf(run) };
}

/** Whether a trainer has taken a run back behind a step. */
export function isBehind({ committedStep }: Run, step: number | undefined): boolean {
  return (committedStep ?? -1) < (step ?? -1);
}

/** The error of a step that is not written because its trainer went back behind it. */
export function rewoundError({ spec, committedStep }: Run, step: number | undefined): ShadowkeepError {
  const problem = `step ${step} of run ${quote(spec.name)} was not written: its trainer went back to step ${committedStep}`;
  return new ShadowkeepError('VERSION_NOT_FOUND', problem, { metadata: { run: spec.name, step: step ?? 0 } });
}

function evictedError({ spec }: Run, step: number | undefined): ShadowkeepError {
  const problem = `step ${step} of run ${quote(spec.name)} was not written: the next step needed its memory`;
  return new ShadowkeepError('VERSION_EVICTED', problem, { metadata: { run: spec.name, step: step ?? 0 } });
}
