import { assert, type FloatDType, ShadowkeepError } from '../../common/index.js';
import type { DigestValue } from '../fold/digest.js';
import type { FoldAhead } from '../fold/fold-ahead.js';
import type { WirePlan } from '../layout/wire-plan.js';
import { SCRATCH_BYTES } from '../memory/arena.js';
import type { Page, PagePool } from '../memory/page-pool.js';
import type { Plane } from '../memory/plane.js';
import type { CommitOutcome } from '../run-spec.js';
import { checkChunk, checkStep, checkWhole } from './chunk-checks.js';
import { Drops } from './drops.js';

import { examine, StagedStep, type StepKind } from './staged-step.js';
import { allocateStaging } from './staging.js';
import { Replays } from './step-digests.js';
import type { Sink, WriterSlot } from './writer-slot.js';

/**
 * Number of steps that may be received before the oldest step is decided. One step hides the distance between the fastest
 * and the slowest writer; each step costs as much memory as a step has bytes.
 */
const STEPS_AHEAD_MAX = 1;

/** Runs a fold to its end, letting others run between its slices. */
export type Drive = (fold: Iterable<void>) => Promise<void>;

/** What the commit message of a writer says of its part. */
export interface PartCommit extends StepKind {
  readonly step: number;
  readonly bytes: number;
}

/** Whoever decides the steps that a pipeline puts together: the committer of a run. */
export interface PipelineRun {
  readonly committedStep: number | undefined;
  /** A plane that steps are folded into. Staging pages are allocated near its pages. */
  readonly plane: Plane | undefined;
  /** Throws when a step of this kind cannot be the next one. */
  checkKind(step: number, kind: StepKind): void;
  /** Folds a whole step, or refuses it by the run's policies. */
  decide(staged: StagedStep, drive: Drive): Promise<CommitOutcome>;
  /** Begins to fold a step while it arrives, as the step after the head. Returns undefined where that is not possible. */
  foldAhead(staged: StagedStep): FoldAhead | undefined;
  /** Runs the slices of a fold. Nothing that needs a settled run happens in between. */
  fold(slices: Iterable<void>, drive: Drive): Promise<void>;
  /** Notes that a step will never be committed, which its writers are told. */
  refused(step: number): void;
  /** Whether a committed step may have had this content. */
  mayBe(step: number, wireDType: FloatDType | undefined, digest: DigestValue): boolean;
}

/**
 * The steps of one generation that are being received, oldest first: put together from the parts of its writers, and
 * decided one after another, when they are whole.
 */
export class Pipeline {
  readonly #run: PipelineRun;
  readonly #pool: PagePool;
  readonly #writerCount: number;
  readonly #plan: WirePlan;
  readonly #sendsGaps: boolean;
  #steps: StagedStep<WriterSlot>[] = [];
  /** Staging pages that no step uses. At least one set is kept, so that the next step has its memory. */
  #spare: (readonly Page[])[] = [];
  readonly #drops = new Drops();
  readonly #replays: Replays;
  #isDeciding = false;
  #isClosed = false;
  #wake: () => void = () => {};
  #changed: Promise<void>;

  /** `sendsGaps`: the only writer sends what lies between tensors too. Throws MEMORY_EXHAUSTED unless one step fits. */
  constructor(run: PipelineRun, pool: PagePool, plan: WirePlan, writerCount: number, sendsGaps: boolean) {
    this.#run = run;
    this.#pool = pool;
    this.#plan = plan;
    this.#writerCount = writerCount;
    this.#sendsGaps = sendsGaps;
    this.#replays = new Replays(writerCount);
    this.#changed = this.#nextChange();
    this.#spare.push(this.#allocate());
  }

  /** The oldest step that has begun, which is decided next. */
  get oldest(): StagedStep<WriterSlot> | undefined {
    return this.#steps[0];
  }

  get stagingBytes(): number {
    const pages = [...this.#spare, ...this.#steps.map((staged) => staged.pages)];
    return pages.reduce((sum, list) => sum + list.length, 0) * this.#pool.pageBytes;
  }

  /** Whether a step that is whole is being folded. */
  get isDeciding(): boolean {
    return this.#isDeciding;
  }

  /**
   * Returns undefined when the writer may send the step. Otherwise the step is too far ahead: ask again when the promise
   * has resolved. Throws STEP_MISMATCH.
   */
  admission(slot: WriterSlot, step: number): Promise<void> | undefined {
    if (slot.receiving !== undefined || this.#isClosed) return undefined;
    if (this.#sinkOf(slot, step) !== undefined || this.#spare.length > 0) return undefined;
    if (this.#steps.length > STEPS_AHEAD_MAX || this.#run.committedStep === undefined) return this.#changed;
    try {
      this.#spare.push(this.#allocate());
      return undefined;
    } catch (error) {
      if (error instanceof ShadowkeepError) return this.#changed;
      throw error;
    }
  }

  /**
   * Takes the next chunk of a writer's part, or refuses it whole, before a byte is staged. Yields between slices:
   * what is taken by then counts as arrived, as if the chunk had been shorter.
   */
  *stage(slot: WriterSlot, step: number, partOffset: number, data: Uint8Array): Generator<void> {
    this.#checkPlace(slot, step, partOffset);
    checkChunk(slot, step, partOffset, data.length);
    if (slot.receiving === undefined) this.#enter(slot, step);
    for (let done = 0; ; ) {
      done += this.#scatter(slot, partOffset + done, done === 0 ? data : data.subarray(done));
      slot.advance(partOffset + done);
      if (done === data.length) return;
      yield;
    }
  }

  /** Takes as many of the bytes as one slice may have, and returns their number. */
  #scatter(slot: WriterSlot, partOffset: number, data: Uint8Array): number {
    const { staged } = slot;
    if (staged !== undefined) {
      return slot.cursor.visit(partOffset, data.length, (stepOffset, at, length) => {
        staged.write(stepOffset, data.subarray(at, at + length), slot);
      });
    }
    return slot.receiving?.kind === 'REPLAYING' ? this.#examine(slot, partOffset, data) : data.length;
  }

  /**
   * Says that a writer's part is whole. Resolves when the step is decided. `drive` runs the fold if this part is the
   * last.
   */
  async commit(slot: WriterSlot, commit: PartCommit, drive: Drive): Promise<CommitOutcome> {
    const { step, bytes, isSkipped } = commit;
    this.#checkPlace(slot, step, slot.receivedBytes);
    const sink = slot.receiving ?? this.#sinkOf(slot, step);
    if (sink?.kind === 'REPLAYING') return this.#replayed(slot, step);
    if (sink?.kind === 'IGNORING') {
      slot.end();
      const repeated = sink.why === 'REPEATED' ? await slot.outcomeOf(step) : undefined;
      return repeated ?? this.#drops.outcomeOf(step);
    }
    if (!isSkipped) checkWhole(slot, step, bytes, this.#run.committedStep === undefined);
    this.#run.checkKind(step, commit);
    sink?.staged.checkKind(commit, slot.number);
    const staged = sink?.staged ?? this.#begin(step);
    staged.finish(slot, commit);
    const outcome = slot.sentWhole(step);
    if (staged.whole.size === this.#writerCount) void this.#decideWhole(drive);
    return await outcome;
  }

  /** Forgets what a writer has sent of a step that is not whole. */
  discard(slot: WriterSlot): void {
    const { staged } = slot;
    slot.end();
    if (staged === undefined) return;
    staged.forget(slot);
    staged.parts.delete(slot);
    if (staged.parts.size === 0) this.#remove(staged);
  }

  /**
   * Drops the oldest step, because the part of some writer is missing. Writers that have sent their part are told so, and
   * streams in the middle of their part end. If no writer has sent its part, the step may be sent again.
   */
  dropOldest(timeoutMs: number): void {
    const { oldest } = this;
    if (oldest === undefined || oldest.whole.size === this.#writerCount) return;
    if (oldest.whole.size > 0) {
      this.#drops.miss(oldest.step);
      this.#run.refused(oldest.step);
    }
    for (const slot of oldest.parts) {
      if (oldest.whole.has(slot)) continue;
      const error = stepTimeout(slot, oldest.step, timeoutMs);
      slot.end();
      slot.stream?.fail(error);
    }
    this.#drop(oldest);
  }

  /**
   * Drops the steps up to `through`: a writer has lost its parts of them, so they cannot become whole any more. Writers
   * that have sent their part are told so, and writers in the middle of theirs are told at its end. Every step that the
   * losing writer has sent must be decided before.
   */
  lose(slot: WriterSlot, through: number): void {
    assert(slot.awaited.length === 0, 'a writer does not lose what it has sent');
    if (slot.receiving !== undefined && slot.receiving.step <= through) this.discard(slot);
    this.#drops.lose(through, slot.number);
    this.#run.refused(through);
    for (const staged of this.#steps.filter(({ step }) => step <= through)) {
      for (const other of staged.parts) {
        if (!staged.whole.has(other)) other.ignore();
      }
      this.#drop(staged);
    }
  }

  /** Frees all staging pages. The steps on them leave no trace. */
  close(): void {
    this.#isClosed = true;
    for (const pages of [...this.#spare, ...this.#steps.map((staged) => staged.pages)]) {
      for (const page of pages) this.#pool.free(page);
    }
    this.#spare = [];
    this.#steps = [];
    this.#wake();
  }

  /**
   * Checks that a chunk or commit is of the step that the writer is in, or of the next one. A new stream may begin its
   * step again.
   */
  #checkPlace(slot: WriterSlot, step: number, partOffset: number): void {
    if (slot.takeRestart()) {
      if (step !== slot.receiving?.step) {
        this.discard(slot);
      } else if (partOffset === 0) {
        slot.staged?.forget(slot);
        slot.restart();
      }
    }
    checkStep(slot, step);
  }

  /** Says what becomes of a writer's part of a step; undefined when the step is new. Throws STEP_MISMATCH. */
  #sinkOf(slot: WriterSlot, step: number): Sink | undefined {
    const { committedStep } = this.#run;
    if (committedStep !== undefined && step <= committedStep) return { kind: 'REPLAYING' };
    const found = this.#steps.find((staged) => staged.step === step);
    const isResent = found === undefined && slot.isResent(step) && slot.outcomeOf(step) !== undefined;
    if (isResent || found?.whole.has(slot)) return { kind: 'IGNORING', why: 'REPEATED' };
    if (step <= this.#drops.through) return { kind: 'IGNORING', why: 'DROPPED' };
    const leftOut = this.#steps.find((staged) => staged.step < step && !staged.whole.has(slot));
    const passed = found === undefined ? this.#steps.find((staged) => staged.step > step) : undefined;
    const other = leftOut ?? passed;
    if (other !== undefined) throw otherStep(slot, step, other);
    return found && { kind: 'STAGING', staged: found };
  }

  #enter(slot: WriterSlot, step: number): void {
    slot.begin(step, this.#sinkOf(slot, step) ?? { kind: 'STAGING', staged: this.#begin(step) });
    slot.staged?.parts.add(slot);
  }

  #begin(step: number): StagedStep<WriterSlot> {
    const pages = this.#spare.pop() ?? this.#allocate();
    const staged = new StagedStep<WriterSlot>(step, pages, this.#plan, this.#pool.pageBytes);
    if (!this.#sendsGaps) staged.clearGaps();
    this.#steps.push(staged);
    if (this.#steps.length === 1 && !this.#isDeciding) staged.ahead = this.#run.foldAhead(staged);
    return staged;
  }

  /** Decides the whole steps one after another. Then begins to fold what has come of the next step. */
  async #decideWhole(drive: Drive): Promise<void> {
    if (this.#isDeciding) return;
    this.#isDeciding = true;
    try {
      for (let { oldest } = this; oldest !== undefined; { oldest } = this) {
        if (oldest.whole.size === this.#writerCount) {
          await this.#decide(oldest, drive);
          continue;
        }
        const ahead = oldest.ahead === undefined ? this.#run.foldAhead(oldest) : undefined;
        if (ahead === undefined) return;
        await this.#run.fold(oldest.catchUp(ahead), drive);
      }
    } finally {
      this.#isDeciding = false;
    }
  }

  async #decide(staged: StagedStep<WriterSlot>, drive: Drive): Promise<void> {
    const slots = [...staged.whole];
    try {
      const outcome = await this.#run.decide(staged, drive);
      if (!this.#isClosed) this.#remove(staged);
      for (const slot of slots) slot.settle(staged.step, outcome);
    } catch (error) {
      if (!this.#isClosed) this.#remove(staged);
      for (const slot of slots) slot.settleWith(error, staged.step);
    }
  }

  #drop(staged: StagedStep<WriterSlot>): void {
    this.#remove(staged);
    for (const slot of staged.whole) slot.settle(staged.step, this.#drops.outcomeOf(staged.step));
  }

  #remove(staged: StagedStep<WriterSlot>): void {
    this.#steps = this.#steps.filter((other) => other !== staged);
    this.#spare.push(this.#trim(staged.pages));
    this.#wake();
  }

  /**
   * Frees the pages on which only tensors of policy COPY_ONCE were staged, which no later step has. Returns the other
   * pages.
   */
  #trim(pages: readonly Page[]): readonly Page[] {
    const kept = Math.ceil(this.#stagedBytes / this.#pool.pageBytes);
    for (const page of pages.slice(kept)) this.#pool.free(page);
    return pages.slice(0, kept);
  }

  #allocate(): readonly Page[] {
    return allocateStaging(this.#pool, this.#plan, this.#stagedBytes, this.#run.plane);
  }

  get #stagedBytes(): number {
    const { stepBytes, firstStepBytes } = this.#plan;
    return this.#run.committedStep === undefined ? firstStepBytes : stepBytes;
  }

  /**
   * Acknowledges a part of a committed step. Throws STEP_CONFLICT when all parts have come and their content is another
   * one.
   */
  #replayed(slot: WriterSlot, step: number): CommitOutcome {
    const isWhole = slot.receivedBytes >= slot.part.stepBytes;
    const digest = isWhole ? this.#replays.add(step, slot.number, slot.findings.digest) : undefined;
    slot.end();
    if (digest === undefined || this.#run.mayBe(step, this.#plan.wireDType, digest))
      return { state: 'ALREADY_COMMITTED', detail: '' };
    throw new ShadowkeepError(
      'STEP_CONFLICT',
      `step ${step} was committed with other content: rewind to a retained version (resume_step), or go on with steps ` +
        `after ${this.#run.committedStep}`,
      { metadata: { step, committedStep: this.#run.committedStep ?? 0 } },
    );
  }

  /**
   * Adds bytes of a committed step to the digest. They are copied into an arena for that, where the kernels can read
   * them.
   */
  #examine(slot: WriterSlot, partOffset: number, data: Uint8Array): number {
    const page = (this.#spare[0] ?? this.oldest?.pages)?.[0];
    if (page === undefined) return data.length;
    return slot.cursor.visit(partOffset, data.length, (stepOffset, at, length) => {
      for (let done = 0; done < length; done += SCRATCH_BYTES) {
        const part = Math.min(SCRATCH_BYTES, length - done);
        page.arena.bytes(0, part).set(data.subarray(at + done, at + done + part));
        examine(this.#plan.segments, { page, address: 0, stepOffset: stepOffset + done, length: part }, slot.findings);
      }
    });
  }

  /** Resolves when a step is decided, dropped or discarded. */
  #nextChange(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#changed = this.#nextChange();
        resolve();
      };
    });
  }
}

function stepTimeout({ receivedBytes, part }: WriterSlot, step: number, timeoutMs: number): ShadowkeepError {
  const { stepBytes } = part;
  return new ShadowkeepError(
    'STEP_TIMEOUT',
    `step ${step} got no bytes for ${timeoutMs} ms, ${receivedBytes} of ${stepBytes} had arrived`,
    { metadata: { step, receivedBytes, stepBytes } },
  );
}

function otherStep({ number }: WriterSlot, step: number, other: StagedStep): ShadowkeepError {
  const problem =
    other.step < step
      ? `began step ${step} and left out step ${other.step}, which another writer sends`
      : `sends step ${step}, the others are at step ${other.step}`;
  return new ShadowkeepError('STEP_MISMATCH', `writer ${number} ${problem}: all writers send the same steps`, {
    metadata: { step, expectedStep: other.step, writer: number },
  });
}
