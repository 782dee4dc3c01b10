import { quote, ShadowkeepError } from '../common/index.js';

/**
 * Lives of a trainer that are remembered, so that a repeated OpenRun gets the answer it had; a run restarts less often.
 */
const INCARNATION_COUNT_MAX = 1_024;

/** What is saved of a lineage. */
export interface LineageState {
  readonly generation: number;
  /** The generation that created the run; undefined in a lineage that an older server has saved. */
  readonly firstGeneration: number | undefined;
  /** Number of processes that push in the present generation. */
  readonly writers: number;
  readonly incarnations: readonly (readonly [string, number])[];
}

/**
 * Which life of the trainer may write: generations only rise, and the newest one is the only one that counts. It is the
 * fencing token that a trainer which was thought dead does not have. No two are ever the same, of whichever run, server
 * or restart: `issue` sees to that, so a number that is equal was issued to the present life.
 */
export class Lineage {
  readonly #run: string;
  readonly #issue: () => number;
  #generation = 0;
  #firstGeneration: number | undefined;
  #writers = 1;
  readonly #incarnations = new Map<string, number>();

  constructor(run: string, issue: () => number) {
    this.#run = run;
    this.#issue = issue;
  }

  get generation(): number {
    return this.#generation;
  }

  /** The one that created the run: no other run has it. Undefined: none has yet, or it was not kept. */
  get firstGeneration(): number | undefined {
    return this.#firstGeneration;
  }

  /** Number of processes that push in the present generation. */
  get writers(): number {
    return this.#writers;
  }

  get state(): LineageState {
    return this.#state(this.#generation, this.#firstGeneration, this.#writers, [...this.#incarnations]);
  }

  restore(state: LineageState): void {
    this.#generation = state.generation;
    this.#firstGeneration = state.firstGeneration;
    this.#writers = state.writers;
    this.#incarnations.clear();
    for (const [incarnation, generation] of state.incarnations) this.#incarnations.set(incarnation, generation);
  }

  /** Whether an incarnation opens a generation. */
  isNew(incarnation: string): boolean {
    return incarnation === '' ? this.#generation === 0 : !this.#incarnations.has(incarnation);
  }

  /**
   * Returns the lineage with an incarnation; undefined when the lineage stays as it is. A new incarnation opens the next
   * generation with so many `writers` (0: as many as the generation before). A known one has its own generation, or gets
   * GENERATION_FENCED. An empty one takes part in the present generation. Throws WRITERS_MISMATCH when that generation
   * has another number of writers.
   */
  next(incarnation: string, writers: number): LineageState | undefined {
    if (!this.isNew(incarnation)) {
      this.check(this.#incarnations.get(incarnation) ?? this.#generation);
      if (writers !== 0 && writers !== this.#writers) throw this.#otherWriters(writers);
      return undefined;
    }
    const generation = Math.max(this.#issue(), this.#generation + 1);
    const known = [...this.#incarnations].slice(1 - INCARNATION_COUNT_MAX);
    const incarnations = incarnation === '' ? known : [...known, [incarnation, generation] as const];
    const first = this.#generation === 0 ? generation : this.#firstGeneration;
    return this.#state(generation, first, writers === 0 ? this.#writers : writers, incarnations);
  }

  /** Throws unless `generation` is the newest one. */
  check(generation: number): void {
    if (generation === this.#generation) return;
    const run = quote(this.#run);
    const metadata = { generation, currentGeneration: this.#generation };
    if (generation < this.#generation) {
      const problem = `generation ${generation} of run ${run} was fenced, ${this.#generation} is open: ${takenOver()}`;
      throw new ShadowkeepError('GENERATION_FENCED', problem, { metadata });
    }
    const open = this.#generation === 0 ? 'none is open' : `${this.#generation} is open`;
    const problem = `run ${run} has no generation ${generation}, ${open}: it is of another run of that name, or of another server`;
    throw new ShadowkeepError('GENERATION_UNKNOWN', problem, { metadata });
  }

  #state(
    generation: number,
    firstGeneration: number | undefined,
    writers: number,
    incarnations: LineageState['incarnations'],
  ): LineageState {
    return { generation, firstGeneration, writers, incarnations };
  }

  #otherWriters(writers: number): ShadowkeepError {
    return new ShadowkeepError(
      'WRITERS_MISMATCH',
      `generation ${this.#generation} of run ${quote(this.#run)} has ${this.#writers} writers, ${writers} in the request: ` +
        'another number of writers needs a new incarnation',
      { metadata: { writers: this.#writers, asked: writers } },
    );
  }

  /** The error for a stream of an older generation. `last` is the newest step that this generation committed. */
  fencedError(last: number | undefined): ShadowkeepError {
    const when = last === undefined ? "before the run's first commit" : `after step ${last}`;
    return new ShadowkeepError(
      'GENERATION_FENCED',
      `generation ${this.#generation} of run ${quote(this.#run)} has begun: ${takenOver(` ${when}`)}`,
      {
        metadata: { generation: this.#generation },
      },
    );
  }
}

function takenOver(when = ''): string {
  return `another trainer has taken over${when}, and what this one pushes is not averaged: end it, or give it a run of its own`;
}
