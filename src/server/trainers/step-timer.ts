import type { Run } from '../../engine/index.js';

/** Drops the oldest step under way when none of its bytes have come for the step timeout. */
export class StepTimer {
  readonly #run: Run;
  readonly #timeoutMs: number;
  readonly #onDropped: (step: number) => void;
  #timer: NodeJS.Timeout | undefined;
  /** The step that the timer runs for. */
  #step: number | undefined;

  constructor(run: Run, timeoutMs: number, onDropped: (step: number) => void) {
    this.#onDropped = onDropped;
    this.#run = run;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Says that bytes of `step` or its commit came, or, without an argument, that a step was decided. Only what comes of
   * the oldest step starts its time anew.
   */
  wind(step?: number): void {
    const oldest = this.#run.oldestStep;
    if (oldest !== undefined && oldest === this.#step) {
      if (step === oldest) this.#timer?.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#step = oldest;
    if (oldest === undefined) return;
    // unref: a process that is stopping does not wait for this timer.
    this.#timer = setTimeout(() => void this.#drop(oldest), this.#timeoutMs).unref();
  }

  async #drop(step: number): Promise<void> {
    await this.#run.whenSettled(() => {
      if (this.#run.oldestStep !== step) return;
      this.#onDropped(step);
      this.#run.dropOldest(this.#timeoutMs);
    });
    this.#step = undefined;
    this.wind();
  }
}
