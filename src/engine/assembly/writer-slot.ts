import { assert, createWaiter, type ShadowkeepError, type Waiter } from '../../common/index.js';
import type { NonFinitePolicy } from '../fold/non-finite.js';
import type { WirePlan } from '../layout/wire-plan.js';
import type { CommitOutcome } from '../run-spec.js';
import { type Part, PartCursor } from '../world/index.js';
import { Findings } from './findings.js';
import type { StagedStep } from './staged-step.js';

/**
 * What a writer's bytes of a step become:
 *
 *   STAGING    put into a step that is being received
 *   REPLAYING  the step is committed: only their digest is taken
 *   IGNORING   the step was dropped, or this writer has sent its part of it already: they are counted
 */
export type Sink =
  | { readonly kind: 'STAGING'; readonly staged: StagedStep<WriterSlot> }
  | { readonly kind: 'REPLAYING' }
  | { readonly kind: 'IGNORING'; readonly why: 'DROPPED' | 'REPEATED' };

/** The state of a writer. IDLE: the writer is between two steps. */
type SlotState = { readonly kind: 'IDLE' } | (Sink & { readonly step: number; readonly receivedBytes: number });

const IDLE: SlotState = { kind: 'IDLE' };

/** A stream of a writer, as far as the slot needs it. */
interface Stream {
  fail(error: ShadowkeepError): void;
}

/** Number of settled steps whose outcome is kept: more than acks can be lost with one stream. */
const SETTLED_COUNT_MAX = 16;

/**
 * One of the writers of a generation, whichever stream it has. The slot knows which part the writer sends and how far it
 * is.
 */
export class WriterSlot {
  readonly number: number;
  readonly part: Part;
  /** The boxes, by index, that this writer has declared and other writers send. */
  readonly leftOut: readonly number[];
  /** What was found in the bytes of the step being received. */
  readonly findings: Findings;
  readonly cursor: PartCursor;
  #state = IDLE;
  #stream: Stream | undefined;
  #wholeStep: number | undefined;
  #mayRestart = false;
  #resentThrough: number | undefined;
  readonly #awaited = new Map<number, Waiter<CommitOutcome>>();
  /** The outcomes of the steps that were settled last. Their acks may have been lost, and the steps may be sent again. */
  readonly #settled = new Map<number, Promise<CommitOutcome>>();

  constructor(number: number, plan: WirePlan, part: Part, leftOut: readonly number[], nonFinite: NonFinitePolicy) {
    this.number = number;
    this.part = part;
    this.leftOut = leftOut;
    this.findings = new Findings(plan, nonFinite);
    this.cursor = new PartCursor(part);
  }

  /** The writer's open stream; undefined when it broke or has ended. */
  get stream(): Stream | undefined {
    return this.#stream;
  }

  /** The step that the writer is in the middle of, and what becomes of its bytes; undefined between two steps. */
  get receiving(): (Sink & { readonly step: number }) | undefined {
    return this.#state.kind === 'IDLE' ? undefined : this.#state;
  }

  get receivedBytes(): number {
    return this.#state.kind === 'IDLE' ? 0 : this.#state.receivedBytes;
  }

  /** The step in which the writer's bytes are staged; undefined when they are not. */
  get staged(): StagedStep<WriterSlot> | undefined {
    return this.#state.kind === 'STAGING' ? this.#state.staged : undefined;
  }

  /** The newest step that the writer has sent whole. */
  get wholeStep(): number | undefined {
    return this.#wholeStep;
  }

  /**
   * Whether the writer has sent a step whole on an older stream, so that its client may not have heard of the outcome.
   */
  isResent(step: number): boolean {
    return this.#resentThrough !== undefined && step <= this.#resentThrough;
  }

  /** The steps whose part the writer has sent whole, each with its outcome, which is still open. */
  get awaited(): readonly { readonly step: number; readonly outcome: Promise<CommitOutcome> }[] {
    return [...this.#awaited].map(([step, { promise }]) => ({ step, outcome: promise }));
  }

  /** Number of bytes that have arrived of the writer's part of a step. */
  arrivedOf(step: number): number {
    if (this.receiving?.step === step) return this.receivedBytes;
    return this.#awaited.has(step) ? this.part.firstStepBytes : 0;
  }

  /** Says that the writer has this stream now. */
  attach(stream: Stream): void {
    this.#stream = stream;
  }

  /** Says that a stream has ended. The end of an older stream than the writer has now changes nothing. */
  detach(stream: Stream): void {
    if (this.#stream === stream) this.#stream = undefined;
  }

  /**
   * Says that the writer comes back on another stream, which may begin its step again. With `takeover` its old stream had
   * broken.
   */
  comeBack(takeover: boolean): void {
    this.#mayRestart = true;
    this.#resentThrough = takeover ? this.#wholeStep : undefined;
  }

  /**
   * Whether the stream is new while an older stream has begun the present step. True once: for the first message of the
   * stream.
   */
  takeRestart(): boolean {
    const mayRestart = this.#mayRestart && this.#state.kind !== 'IDLE';
    this.#mayRestart = false;
    return mayRestart;
  }

  /** Begins a step, when its first bytes come. From IDLE. */
  begin(step: number, sink: Sink): void {
    assert(this.#state.kind === 'IDLE', 'a writer begins one step after the other');
    this.#state = { ...sink, step, receivedBytes: 0 };
  }

  /** Notes how many bytes of the step have come so far. */
  advance(receivedBytes: number): void {
    assert(this.#state.kind !== 'IDLE', 'bytes are of a step');
    this.#state = { ...this.#state, receivedBytes };
  }

  /** Begins the present step again. */
  restart(): void {
    this.advance(0);
    this.#clear();
  }

  /** Says that the present step was dropped. The rest of its bytes is only counted. From STAGING. */
  ignore(): void {
    assert(this.#state.kind === 'STAGING', 'what is dropped was staged');
    const { step, receivedBytes } = this.#state;
    this.#state = { kind: 'IGNORING', why: 'DROPPED', step, receivedBytes };
  }

  /** Ends the present step, or forgets it. */
  end(): void {
    this.#state = IDLE;
    this.#clear();
  }

  /** Ends a step whose part is whole. Resolves with the outcome of the step. */
  sentWhole(step: number): Promise<CommitOutcome> {
    this.#wholeStep = step;
    const waiter = createWaiter<CommitOutcome>();
    this.#awaited.set(step, waiter);
    this.end();
    return waiter.promise;
  }

  /** The outcome of a step that the writer has sent whole, while it is open and for a while afterwards. */
  outcomeOf(step: number): Promise<CommitOutcome> | undefined {
    return this.#awaited.get(step)?.promise ?? this.#settled.get(step);
  }

  settle(step: number, outcome: CommitOutcome): void {
    this.#awaited.get(step)?.resolve(outcome);
    this.#forget(step);
  }

  /** Settles a step, or all open steps, with an error. */
  settleWith(error: unknown, step?: number): void {
    for (const [awaitedStep, { reject }] of [...this.#awaited]) {
      if (step !== undefined && step !== awaitedStep) continue;
      reject(error);
      this.#forget(awaitedStep);
    }
  }

  #clear(): void {
    this.cursor.reset();
    this.findings.reset();
  }

  #forget(step: number): void {
    const awaited = this.#awaited.get(step);
    if (awaited === undefined) return;
    this.#awaited.delete(step);
    this.#settled.delete(step);
    this.#settled.set(step, awaited.promise);
    const [oldest] = this.#settled.keys();
    if (this.#settled.size > SETTLED_COUNT_MAX && oldest !== undefined) this.#settled.delete(oldest);
  }
}
