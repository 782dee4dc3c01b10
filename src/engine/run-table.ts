import { quote, RUN_COUNT_MAX, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import { checkSameAverages } from './averages/index.js';
import { checkSameTensors } from './layout.js';
import { Ledger } from './ledger.js';
import { countFrom, Run, type RunSpec } from './run.js';

/** All runs of one server, and the ledger that they share. */
export class RunTable {
  readonly ledger: Ledger;
  readonly #mode: KernelMode;
  readonly #nextVersionId: () => number;
  readonly #runs = new Map<string, Run>();

  /** `firstVersionId` is past every id of an earlier table with the same runs. */
  constructor(budgetBytes: number, mode: KernelMode, firstVersionId = 1) {
    this.ledger = new Ledger(budgetBytes);
    this.#mode = mode;
    this.#nextVersionId = countFrom(firstVersionId);
  }

  /** The run of that name, in the order of names. */
  list(): Run[] {
    return [...this.#runs.values()].sort((a, b) => (a.spec.name < b.spec.name ? -1 : 1));
  }

  find(name: string): Run | undefined {
    return this.#runs.get(name);
  }

  /** Throws RUN_NOT_FOUND. */
  get(name: string): Run {
    const run = this.#runs.get(name);
    if (run === undefined) {
      throw new ShadowkeepError('RUN_NOT_FOUND', `run ${quote(name)} does not exist`, { metadata: { run: name } });
    }
    return run;
  }

  /** Makes the run, or finds it and proves that it is the same one: LAYOUT_MISMATCH, AVERAGES_MISMATCH. */
  open(spec: RunSpec): { run: Run; created: boolean } {
    const existing = this.#runs.get(spec.name);
    if (existing !== undefined) {
      checkSameTensors(spec.name, existing.spec.tensors, spec.tensors);
      checkSameAverages(spec.name, existing.spec.averages, spec.averages);
      return { run: existing, created: false };
    }
    if (this.#runs.size >= RUN_COUNT_MAX) {
      throw new ShadowkeepError(
        'TOO_MANY_RUNS',
        `the server holds ${this.#runs.size} runs, at most ${RUN_COUNT_MAX} are allowed`,
      );
    }
    const run = new Run(spec, this.ledger, this.#mode, { nextVersionId: this.#nextVersionId });
    this.#runs.set(spec.name, run);
    return { run, created: true };
  }

  /** Returns the bytes that the ledger got back. */
  delete(name: string): number {
    const run = this.get(name);
    this.#runs.delete(name);
    return run.delete();
  }
}
