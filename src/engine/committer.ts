import { type FloatDType, ShadowkeepError } from '../common/index.js';
import { type Drive, type PipelineRun, type StagedStep, StepDigests, type StepKind } from './assembly/index.js';
import { advanceAll, advanceAllInitial } from './fold/advance-run.js';
import type { CommitPlan } from './fold/commit.js';
import type { DigestValue } from './fold/digest.js';
import { FoldAhead } from './fold/fold-ahead.js';
import type { Lineage } from './lineage.js';
import type { Plane } from './memory/plane.js';
import type { CommitOutcome, ReaderPatience, RunSpec, RunState } from './run-spec.js';
import type { RunVersions } from './versions/run-versions.js';

/** Decides what becomes of a whole step, and folds it. Nothing else moves the head of a run on. */
export class Committer implements PipelineRun {
  readonly digests = new StepDigests();
  readonly #spec: RunSpec;
  readonly #versions: RunVersions;
  readonly #lineage: Lineage;
  readonly #onChange: () => void;
  readonly #patience: ReaderPatience | undefined;
  /** Set when the run was deleted: nothing is committed any more. */
  #end: ShadowkeepError | undefined;
  #nonFiniteSteps = 0;
  /** The newest step that was rejected or dropped; undefined once a later step is committed. */
  #refusedStep: number | undefined;
  #fold: Promise<void> | undefined;

  /** `onChange` is called when readers have something new to see; `patience` is as `RunOptions` says. */
  constructor(
    spec: RunSpec,
    versions: RunVersions,
    lineage: Lineage,
    onChange: () => void,
    patience: ReaderPatience | undefined,
  ) {
    this.#spec = spec;
    this.#versions = versions;
    this.#lineage = lineage;
    this.#onChange = onChange;
    this.#patience = patience;
  }

  get committedStep(): number | undefined {
    return this.#versions.head.step;
  }

  /** The newest step of which the trainer knows what became of it: committed, or refused since then. */
  get answeredStep(): number | undefined {
    return this.#refusedStep ?? this.committedStep;
  }

  get plane(): Plane | undefined {
    return this.#versions.head.shadows[0]?.plane;
  }

  /** Number of steps in which a value was not finite. */
  get nonFiniteSteps(): number {
    return this.#nonFiniteSteps;
  }

  get isFolding(): boolean {
    return this.#fold !== undefined;
  }

  /** Does `action` at a moment when no fold is under way. */
  async whenSettled<Result>(action: () => Result): Promise<Result> {
    while (this.#fold !== undefined) await this.#fold.catch(() => undefined);
    return action();
  }

  /** Says that the run was deleted. A fold that is under way ends with this error. */
  close(error: ShadowkeepError): void {
    this.#end = error;
  }

  checkKind(step: number, { isInitial, isSkipped }: StepKind): void {
    if (!isSkipped) this.#advance(step, isInitial);
  }

  /** Notes that a step will never be committed, which its writers are told. */
  refused(step: number): void {
    this.#refusedStep = Math.max(step, this.answeredStep ?? step);
  }

  /** Forgets the steps after `step`: the life of the trainer that went back has not been told of them. */
  rewind(step: number | undefined): void {
    this.#refusedStep = undefined;
    this.digests.rewind(step);
  }

  /** What `restore` needs. */
  get state(): Pick<RunState, 'answeredStep' | 'digests'> {
    return { answeredStep: this.#refusedStep, digests: this.digests.state };
  }

  /** Puts a saved state in place of the empty one. */
  restore({ answeredStep, digests }: Pick<RunState, 'answeredStep' | 'digests'>): void {
    this.#refusedStep = answeredStep;
    this.digests.restore(digests);
  }

  mayBe(step: number, wireDType: FloatDType | undefined, digest: DigestValue): boolean {
    return this.digests.mayBe(step, wireDType, digest);
  }

  foldAhead(staged: StagedStep): FoldAhead | undefined {
    return FoldAhead.begin(this.#versions.head, staged.plan, staged.pages.length, staged.step);
  }

  /**
   * Folds a whole step into every average and flips the version, all at once; one that is not finite may be refused by
   * the run's policy, one that the optimizer skipped is only seen. Throws INITIAL_REQUIRED, INITIAL_TOO_LATE,
   * MEMORY_EXHAUSTED.
   */
  async decide(staged: StagedStep, drive: Drive): Promise<CommitOutcome> {
    const { step, kind, nonFinite: found, detail } = staged;
    if (kind.isSkipped) return this.#skip(step);
    const advances = this.#advance(step, kind.isInitial);
    if (found.size > 0) this.#nonFiniteSteps += 1;
    const { nonFinite } = this.#spec;
    if (found.size > 0 && nonFinite === 'REJECT_STEP') {
      this.refused(step);
      return { state: 'REJECTED', detail };
    }
    const skipped = nonFinite === 'SKIP_TENSOR' ? new Set(found) : NONE;
    const plan = (mayEvict: boolean): CommitPlan =>
      staged.ahead === undefined
        ? this.#versions.plan(step, advances, skipped, mayEvict)
        : this.#versions.planExchange(step, staged.ahead, staged.pages, skipped, mayEvict);
    const first = this.#planWithoutEviction(plan);
    let done = first;
    await this.#hold(
      async () => {
        done ??= await this.#planWithPatience(plan);
        await drive(this.#versions.fold(staged, done));
      },
      () => this.#flip(staged, done!),
    );
    return { state: 'COMMITTED', detail };
  }

  async fold(slices: Iterable<void>, drive: Drive): Promise<void> {
    await this.#hold(() => drive(slices));
  }

  /** Plans a commit that takes no version from its readers. Returns undefined when there is no room for that. */
  #planWithoutEviction(plan: (mayEvict: boolean) => CommitPlan): CommitPlan | undefined {
    if (this.#patience === undefined || this.#versions.history.oldestRead === undefined) return plan(true);
    try {
      return plan(false);
    } catch (error) {
      if (error instanceof ShadowkeepError && error.reason === 'MEMORY_EXHAUSTED') return undefined;
      throw error;
    }
  }

  /** Plans a commit after the oldest read has had time to end. Readers that are still there may lose their version. */
  async #planWithPatience(plan: (mayEvict: boolean) => CommitPlan): Promise<CommitPlan> {
    const reader = this.#versions.history.oldestRead?.firstReader;
    if (reader !== undefined) await this.#patience?.(reader);
    if (this.#end !== undefined) throw this.#end;
    return plan(true);
  }

  /** Does work during which nothing else may change the run, then publishes its result. */
  async #hold(work: () => Promise<void>, then: () => void = () => {}): Promise<void> {
    // `#fold` is set before the work begins, because `drive` may let others run before the first slice.
    this.#fold = Promise.resolve().then(work);
    try {
      await this.#fold;
    } finally {
      this.#fold = undefined;
    }
    // Nothing runs in between, so that whoever sees no fold under way sees its result.
    then();
  }

  #advance(step: number, isInitial: boolean) {
    const advance = isInitial ? advanceAllInitial : advanceAll;
    return advance(this.#spec.name, this.#versions.head, step);
  }

  /**
   * Gives the head the number of a step that the optimizer skipped; the averages stay. Before the first commit nothing
   * changes.
   */
  #skip(step: number): CommitOutcome {
    if (this.committedStep !== undefined) {
      this.#refusedStep = undefined;
      this.#versions.history.commit({ step, generation: this.#lineage.generation });
      this.#onChange();
    }
    return { state: 'SKIPPED', detail: '' };
  }

  #flip(staged: StagedStep, plan: CommitPlan): void {
    if (this.#end !== undefined) throw this.#end;
    const { step, digest } = staged;
    this.#refusedStep = undefined;
    this.#versions.flip(step, this.#lineage.generation, plan);
    this.digests.record({ step, ...digest, wireDType: staged.plan.wireDType });
    staged.exchange(this.#versions.stagingAfter(plan) ?? staged.pages);
    this.#onChange();
  }
}

/** Stands for: every tensor is folded. */
const NONE: ReadonlySet<number> = new Set();
