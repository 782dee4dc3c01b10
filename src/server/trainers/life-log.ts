import type { Logger } from '../../common/index.js';

/** Lines of one kind that may come at once, as when a host with many writers of a trainer is lost. */
const BURST_LINES = 200;

/** Lines of one kind that may come each second after a burst: a client that tries in a loop must not fill a disk. */
const LINES_PER_SECOND = 5;

/** Logs one line for each change in the life of a run or a writer, at a bounded rate of each kind of line. */
export class LifeLog {
  readonly #log: Logger;
  readonly #now: () => number;
  /**
   * For each text of a line: how many may come now, when that was computed, and how many lines were suppressed since.
   */
  readonly #kinds = new Map<string, { left: number; atMs: number; suppressed: number }>();

  constructor(log: Logger, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#now = now;
  }

  info(text: string, fields: object): void {
    this.#write('info', text, fields);
  }

  warn(text: string, fields: object): void {
    this.#write('warn', text, fields);
  }

  #write(level: 'info' | 'warn', text: string, fields: object): void {
    const atMs = this.#now();
    const before = this.#kinds.get(text) ?? { left: BURST_LINES, atMs, suppressed: 0 };
    const left = Math.min(BURST_LINES, before.left + ((atMs - before.atMs) / 1_000) * LINES_PER_SECOND);
    if (left < 1) {
      this.#kinds.set(text, { left, atMs, suppressed: before.suppressed + 1 });
      return;
    }
    this.#kinds.set(text, { left: left - 1, atMs, suppressed: 0 });
    this.#log[level](before.suppressed === 0 ? fields : { ...fields, suppressed: before.suppressed }, text);
  }
}
