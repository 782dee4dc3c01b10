import type { Run } from '../../engine/index.js';

/** Drops a step that a writer's part is missing of: when none of its bytes have come for the step timeout. */
export class StepTimer {
  readonly #run: Run;
  readonly #timeoutMs: number;
  readonly #onDropped: (step: number) => void;
  #timer: NodeJS.Timeout | undefined;
  /** The step that it runs for. */
  #step: number | undefined;

  constructor(run: Run, timeoutMs: number, onDropped: (step: number) => void) {
    this.#onDropped = onDropped;
    this.#run = run;
    this.#timeoutMs = timeoutMs;
  }

  /** Something came of `step`, or a step was decided: only what comes of the oldest step winds the timer up again. */
  wind(step?: number): void {
    const oldest = this.#run.oldestStep;
    if (oldest !== undefined && oldest === this.#step) {
      if (step === oldest) this.#timer?.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#step = oldest;
    if (oldest === undefined) return;
    // A server that stops does not wait for it.
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
