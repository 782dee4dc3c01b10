import type { CommitOutcome } from '../run-spec.js';

/** Number of losses that are remembered. Of an older loss, a late writer is told only that the step is dropped. */
const LOSS_COUNT_MAX = 16;

/** The steps up to `through`, which a writer has lost. */
interface Loss {
  readonly after: number;
  readonly through: number;
  readonly writer: number;
}

/** Knows which steps are dropped, also for writers that are yet to send them, and which writer has lost them. */
export class Drops {
  #through = Number.NEGATIVE_INFINITY;
  #losses: readonly Loss[] = [];

  /** Steps up to this one are dropped, unless they were committed. */
  get through(): number {
    return this.#through;
  }

  /** Notes that a part of the step did not come in time. */
  miss(step: number): void {
    this.#through = Math.max(this.#through, step);
  }

  /** Notes that a writer has lost the steps up to `through`. */
  lose(through: number, writer: number): void {
    if (through <= this.#through) return;
    this.#losses = [...this.#losses, { after: this.#through, through, writer }].slice(-LOSS_COUNT_MAX);
    this.#through = through;
  }

  outcomeOf(step: number): CommitOutcome {
    const loss = this.#losses.find(({ after, through }) => after < step && step <= through);
    if (loss === undefined) return { state: 'DROPPED', detail: '' };
    return { state: 'DROPPED', detail: `writer ${loss.writer} has lost it`, lostBy: loss.writer };
  }
}
