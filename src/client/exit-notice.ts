/** Has steps that may not have arrived. */
export interface Unfinished {
  readonly run: string;
  /** Those that are not acknowledged, rising. */
  readonly pendingSteps: readonly number[];
}

const unfinished = new Set<Unfinished>();
let isListening = false;

/**
 * A process that ends with `process.exit` or an error takes along what was not acknowledged yet: standard error is told
 * which steps, unless they are settled before. At the natural end of a script Node waits for every run that is open.
 */
export function noteAtExit(one: Unfinished): void {
  unfinished.add(one);
  if (isListening) return;
  isListening = true;
  process.on('exit', () => {
    for (const { run, pendingSteps } of unfinished) process.stderr.write(noticeOf(run, pendingSteps));
  });
}

/** Its steps have arrived, or whoever pushed them knows that they have not. */
export function settled(one: Unfinished): void {
  unfinished.delete(one);
}

function noticeOf(run: string, steps: readonly number[]): string {
  const which = steps.length === 1 ? `step ${steps[0]}` : `${steps.length} steps from ${steps[0]} to ${steps.at(-1)}`;
  return `shadowkeep: the process ends and ${which} of run "${run}" may be lost: close() waits for what was pushed\n`;
}
