import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * An arena's memory goes back to the system when the garbage collector finds it unused, and a quiet server may not
 * collect for hours. So a deletion asks for it, after the streams of the run have let go.
 */
const DELAY_MS = 100;

let collect: (() => void) | undefined;
let timer: NodeJS.Timeout | undefined;

export function collectSoon(): void {
  clearTimeout(timer);
  timer = setTimeout(collectNow, DELAY_MS).unref();
}

/** A collection of everything: some 100 ms. */
export function collectNow(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
