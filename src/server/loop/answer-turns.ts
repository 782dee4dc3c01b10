/** Most acknowledgements written in one turn of the event loop. One takes some 60 µs, so a turn takes some 4 ms. */
const ANSWER_COUNT_MAX = 64;

/**
 * Spreads acknowledgements over turns of the event loop, in the order in which they come. The end of a step is
 * acknowledged to all of its writers, and a thousand acknowledgements in one turn would keep other calls waiting.
 */
export class AnswerTurns {
  #given = 0;
  #isScheduled = false;
  readonly #waiting: (() => void)[] = [];

  /** Asks for a turn to write one acknowledgement: undefined when it may be written now, else a promise of its turn. */
  turn(): Promise<void> | undefined {
    this.#schedule();
    if (this.#given < ANSWER_COUNT_MAX && this.#waiting.length === 0) {
      this.#given += 1;
      return undefined;
    }
    return new Promise((go) => this.#waiting.push(go));
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isScheduled = false;
    const next = this.#waiting.splice(0, ANSWER_COUNT_MAX);
    this.#given = next.length;
    for (const go of next) go();
    if (next.length > 0) this.#schedule();
  }
}
