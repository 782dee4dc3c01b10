import type { Pulled } from './evaluator.js';
import { largestDifference } from './reference.js';
import type { Acknowledged, Opened, Trained } from './trainer.js';

/** One pulled shadow, compared with the trainer's own numbers of the same step. */
export interface Row {
  readonly step: number;
  /** Mean cross entropy of the step's batch; absent at step 0. */
  readonly loss?: number;
  readonly accuracyRaw: number;
  readonly accuracyEma: number;
  /** Number of updates that the service has folded into this shadow, as it says. */
  readonly numUpdates: number;
  /** Largest absolute difference of the shadow from the float64 EMA. */
  readonly difference: number;
  /** Largest difference that rounding to float32 can explain. */
  readonly errorBound: number;
}

/** Matches what the trainer and the evaluator report of the same step, in whichever order the reports come. */
export class Recording {
  readonly rows: Row[] = [];
  /** Accuracy of the raw weights at each step, from step 0 on. */
  readonly accuraciesRaw: number[] = [];
  opened: Opened | undefined;
  acknowledged: Acknowledged | undefined;
  pulledBytes = 0;
  private readonly trained = new Map<number, Trained>();
  private readonly unmatched: Pulled[] = [];

  /** `onRow` is called for each pull, in their order, once the trainer has reported the same step. */
  constructor(private readonly onRow: (row: Row) => void) {}

  /** Number of pulls whose step the trainer has not reported. */
  get unmatchedCount(): number {
    return this.unmatched.length;
  }

  addTrained(trained: Trained): void {
    this.accuraciesRaw[trained.step] = trained.accuracyRaw;
    this.trained.set(trained.step, trained);
    this.match();
  }

  addPulled(pulled: Pulled): void {
    this.pulledBytes += pulled.bytes;
    this.unmatched.push(pulled);
    this.match();
  }

  private match(): void {
    for (let pulled = this.unmatched[0]; pulled !== undefined; pulled = this.unmatched[0]) {
      const trained = this.trained.get(pulled.step);
      if (trained === undefined) return;
      this.unmatched.shift();
      // The steps of pulls only rise, so reports of older steps are not needed any more.
      for (const step of this.trained.keys()) if (step < pulled.step) this.trained.delete(step);
      const row = compare(trained, pulled);
      this.rows.push(row);
      this.onRow(row);
    }
  }
}

function compare(trained: Trained, pulled: Pulled): Row {
  return {
    step: pulled.step,
    ...(trained.loss === undefined ? {} : { loss: trained.loss }),
    accuracyRaw: trained.accuracyRaw,
    accuracyEma: pulled.accuracyEma,
    numUpdates: pulled.numUpdates,
    difference: largestDifference(pulled.values, trained.reference),
    errorBound: trained.errorBound,
  };
}
