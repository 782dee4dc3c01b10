import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Time for the streams of a deleted run to let go of its memory before it is collected. */
const DELAY_MS = 100;

let collect: (() => void) | undefined;
let timer: NodeJS.Timeout | undefined;

/**
 * Collects all garbage in a moment. An arena's memory goes back to the system when the garbage collector finds it
 * unused, and a quiet server may not collect for hours, so the deletion of a run asks for it.
 */
export function collectSoon(): void {
  clearTimeout(timer);
  timer = setTimeout(collectNow, DELAY_MS).unref();
}

/** Collects all garbage of the process now, which takes some 100 ms. */
export function collectNow(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
