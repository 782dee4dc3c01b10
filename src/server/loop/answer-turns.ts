/** Acknowledgements written in one turn of the event loop: one takes some 60 µs. */
const ANSWER_COUNT_MAX = 64;

/**
 * The end of a step is told to all of its writers; of a thousand, so many in each turn of the event loop, so that others are
 * served in between. In the order in which they come.
 */
export class AnswerTurns {
  #given = 0;
  #isScheduled = false;
  readonly #waiting: (() => void)[] = [];

  /** Undefined: the caller's answer is one of this turn. */
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
