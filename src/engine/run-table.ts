import { DTYPE_BYTES, quote, RUN_COUNT_MAX, ShadowkeepError, toEnd } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';
import { type AverageSpec, checkSameAverages, firstDifference } from './averages/index.js';
import { compareTensors, type Layout, placingTensors } from './layout/layout.js';
import { isFiltered } from './layout/tensor-filter.js';
import { Lease, Ledger } from './memory/ledger.js';
import { pageBytesFor } from './memory/plane.js';
import { findingPages } from './memory/tables.js';
import { Run } from './run.js';
import type { ReaderPatience, RunRequest } from './run-spec.js';
import { countFrom } from './versions/run-versions.js';

export interface OpenedRun {
  readonly run: Run;
  readonly created: boolean;
  readonly order: Uint32Array | undefined;
}

/** All runs of one server, and the ledger that they share. */
export class RunTable {
  readonly ledger: Ledger;
  readonly #mode: KernelMode;
  readonly #makePatience: (() => ReaderPatience) | undefined;
  readonly #nextVersionId: () => number;
  readonly #nextGeneration: () => number;
  readonly #runs = new Map<string, Run>();
  /** Runs that are kept somewhere and cannot be served, and why. */
  readonly #setAside = new Map<string, string>();
  /** The listeners that wait for a run of a name to be opened. */
  readonly #awaited = new Map<string, Set<() => void>>();
  /** For lists of tensors of requests: the run that was found to have them. A thousand ranks ask with the same list. */
  readonly #proved = new WeakMap<
    RunRequest['tensors'],
    { readonly run: Run; readonly order: Uint32Array | undefined }
  >();

  /** Layouts of runs that are about to be made. */
  readonly #placed = new WeakMap<RunRequest['tensors'], Layout>();

  /**
   * `firstVersionId` is past every id of an earlier table with the same runs, `nextGeneration` gives none a second time;
   * `heapBudgetBytes` is for requests and patterns. `makePatience` is called for each run.
   */
  constructor(
    budgetBytes: number,
    mode: KernelMode,
    firstVersionId = 1,
    heapBudgetBytes = budgetBytes,
    nextGeneration = countFrom(1),
    makePatience?: () => ReaderPatience,
  ) {
    this.#makePatience = makePatience;
    this.ledger = new Ledger(budgetBytes, heapBudgetBytes);
    this.#mode = mode;
    this.#nextVersionId = countFrom(firstVersionId);
    this.#nextGeneration = nextGeneration;
  }

  /** All runs, in the order of their names. */
  list(): Run[] {
    return [...this.#runs.values()].sort((a, b) => (a.spec.name < b.spec.name ? -1 : 1));
  }

  find(name: string): Run | undefined {
    return this.#runs.get(name);
  }

  /** Whether there is a run of that name, or one that is set aside. */
  isKnown(name: string): boolean {
    return this.#runs.has(name) || this.#setAside.has(name);
  }

  /** Calls back once the run of that name is opened for the first time, until the returned function is called. */
  whenOpened(name: string, listener: () => void): () => void {
    const listeners = this.#awaited.get(name) ?? new Set();
    this.#awaited.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#awaited.get(name) === listeners) this.#awaited.delete(name);
    };
  }

  /** Says that a run of that name is on the disk and cannot be served. Nobody opens another run in its place. */
  setAside(name: string, problem: string): void {
    this.#setAside.set(name, problem);
  }

  /** The runs that are set aside, in the order of their names. */
  get damaged(): { readonly run: string; readonly problem: string }[] {
    return [...this.#setAside].map(([run, problem]) => ({ run, problem })).sort((a, b) => (a.run < b.run ? -1 : 1));
  }

  /** Throws RUN_NOT_FOUND, RUN_DAMAGED. */
  get(name: string): Run {
    this.#checkWhole(name);
    const run = this.#runs.get(name);
    if (run === undefined) {
      throw new ShadowkeepError('RUN_NOT_FOUND', `run ${quote(name)} does not exist`, { metadata: { run: name } });
    }
    return run;
  }

  /**
   * Does the long part of `open`: compares a request with the run of its name, or places the tensors of a new one. Yields
   * between slices. Throws LAYOUT_MISMATCH.
   */
  *prepare({ name, tensors, averages }: RunRequest): Generator<void> {
    const run = this.#runs.get(name);
    if (run === undefined) {
      const layout = this.#placed.get(tensors) ?? (yield* placingTensors(tensors));
      this.#placed.set(tensors, layout);
      const pageBytes = pageBytesFor(layout.averagedLength, layout.copiedLength);
      for (const average of averages.filter(isFiltered)) {
        yield* findingPages(pageBytes / DTYPE_BYTES[average.precision], layout, average);
      }
    } else if (this.#proved.get(tensors)?.run !== run) {
      const order = yield* compareTensors(name, run.spec.tensors, tensors);
      this.#proved.set(tensors, { run, order });
    }
  }

  /**
   * Makes the run, or finds it and proves that it is the same one: LAYOUT_MISMATCH, AVERAGES_MISMATCH, RUN_DAMAGED.
   * `order`: where in the run each tensor of the request is, when they are not in the run's order. `averages` are the
   * present ones of a run that is restored; default: those of the spec.
   */
  open(request: RunRequest, averages?: readonly AverageSpec[]): OpenedRun {
    this.#checkWhole(request.name);
    const existing = this.#runs.get(request.name);
    if (existing !== undefined) {
      toEnd(this.prepare(request));
      checkSameRules(existing, request);
      return { run: existing, created: false, order: this.#proved.get(request.tensors)?.order };
    }
    if (this.#runs.size >= RUN_COUNT_MAX) {
      throw new ShadowkeepError(
        'TOO_MANY_RUNS',
        `the server holds ${this.#runs.size} runs, at most ${RUN_COUNT_MAX} are allowed`,
      );
    }
    const layout = this.#placed.get(request.tensors);
    const lease = new Lease(this.ledger, `the layout of run ${quote(request.name)}`);
    const patience = this.#makePatience?.();
    const options = {
      nextVersionId: this.#nextVersionId,
      nextGeneration: this.#nextGeneration,
      lease,
      ...(patience && { patience }),
      ...(layout && { layout }),
      ...(averages && { averages }),
    };
    const spec = { ...request, nonFinite: request.nonFinite ?? 'REJECT_STEP' } as const;
    const run = new Run(spec, this.ledger, this.#mode, options);
    this.#runs.set(spec.name, run);
    for (const listener of [...(this.#awaited.get(spec.name) ?? [])]) listener();
    return { run, created: true, order: undefined };
  }

  /** Throws RUN_NOT_FOUND. A run that is set aside can be deleted, too. */
  checkDeletable(name: string): void {
    if (!this.#setAside.has(name)) this.get(name);
  }

  /** Deletes a run. Returns the bytes that the ledger got back. */
  delete(name: string): number {
    if (this.#setAside.delete(name)) return 0;
    const run = this.get(name);
    this.#runs.delete(name);
    return run.delete();
  }

  #checkWhole(name: string): void {
    const problem = this.#setAside.get(name);
    if (problem === undefined) return;
    throw new ShadowkeepError(
      'RUN_DAMAGED',
      `run ${quote(name)} cannot be served: ${problem}; nothing of it was changed: bring its files back, or remove the ` +
        'damaged step folder to go on from the one before it, and start the service again; or delete the run',
      { metadata: { run: name } },
    );
  }
}

/** Checks that a trainer which comes back says what it said when it opened the run, or what the run has become since. */
function checkSameRules(run: Run, request: RunRequest): void {
  if (firstDifference(run.spec.averages, request.averages) !== undefined) {
    checkSameAverages(request.name, run.averages, request.averages);
  }
  for (const field of ['nonFinite', 'snapshots'] as const) {
    const [ours, theirs] = [JSON.stringify(run.spec[field]), JSON.stringify(request[field])];
    if (theirs === undefined || ours === theirs) continue;
    const problem = `run ${quote(request.name)} has ${field} ${ours}, ${theirs} in the request`;
    throw new ShadowkeepError('AVERAGES_MISMATCH', problem, { metadata: { run: request.name } });
  }
}
