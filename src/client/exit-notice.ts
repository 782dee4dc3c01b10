/** A run with steps that may not have arrived at the service. */
export interface Unfinished {
  readonly run: string;
  /** The steps that are not acknowledged, rising. */
  readonly pendingSteps: readonly number[];
}

const unfinished = new Set<Unfinished>();
let isListening = false;

/**
 * Writes to standard error which steps may be lost when the process ends with `process.exit` or an error before they
 * are settled. At the natural end of a script Node waits for every open run, so nothing is lost.
 */
export function noteAtExit(one: Unfinished): void {
  unfinished.add(one);
  if (isListening) return;
  isListening = true;
  process.on('exit', () => {
    for (const { run, pendingSteps } of unfinished) process.stderr.write(noticeOf(run, pendingSteps));
  });
}

/** Says that the steps of a run have arrived, or that whoever pushed them has been told that they have not. */
export function settled(one: Unfinished): void {
  unfinished.delete(one);
}

function noticeOf(run: string, steps: readonly number[]): string {
  const which = steps.length === 1 ? `step ${steps[0]}` : `${steps.length} steps from ${steps[0]} to ${steps.at(-1)}`;
  return `shadowkeep: the process ends and ${which} of run "${run}" may be lost: close() waits for what was pushed\n`;
}
