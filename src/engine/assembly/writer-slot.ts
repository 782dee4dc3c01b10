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

/** IDLE: it is between two steps. */
type SlotState = { readonly kind: 'IDLE' } | (Sink & { readonly step: number; readonly receivedBytes: number });

const IDLE: SlotState = { kind: 'IDLE' };

/** The stream of a writer, for those who end it. */
interface Stream {
  fail(error: ShadowkeepError): void;
}

/** Acks that can have been lost with one stream, and more. */
const SETTLED_COUNT_MAX = 16;

/** One of the writers of a generation, whichever stream it has: what it sends, and how far it is. */
export class WriterSlot {
  readonly number: number;
  readonly part: Part;
  /** Its boxes that others send, by their index. */
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
  /** The last ones that were settled: their acks may have been lost, and their steps sent again. */
  readonly #settled = new Map<number, Promise<CommitOutcome>>();

  constructor(number: number, plan: WirePlan, part: Part, leftOut: readonly number[], nonFinite: NonFinitePolicy) {
    this.number = number;
    this.part = part;
    this.leftOut = leftOut;
    this.findings = new Findings(plan, nonFinite);
    this.cursor = new PartCursor(part);
  }

  /** Undefined: its stream broke, or has ended. */
  get stream(): Stream | undefined {
    return this.#stream;
  }

  /** The step being received, and what becomes of its bytes; undefined: none has begun. */
  get receiving(): (Sink & { readonly step: number }) | undefined {
    return this.#state.kind === 'IDLE' ? undefined : this.#state;
  }

  get receivedBytes(): number {
    return this.#state.kind === 'IDLE' ? 0 : this.#state.receivedBytes;
  }

  /** The step that its bytes are staged in; undefined: they are not. */
  get staged(): StagedStep<WriterSlot> | undefined {
    return this.#state.kind === 'STAGING' ? this.#state.staged : undefined;
  }

  /** The newest step that it has sent whole. */
  get wholeStep(): number | undefined {
    return this.#wholeStep;
  }

  /** A step that it has sent whole on an older stream, whose client has heard no outcome of it. */
  isResent(step: number): boolean {
    return this.#resentThrough !== undefined && step <= this.#resentThrough;
  }

  /** A step of which its part is whole and the outcome open, with the outcome. */
  get awaited(): readonly { readonly step: number; readonly outcome: Promise<CommitOutcome> }[] {
    return [...this.#awaited].map(([step, { promise }]) => ({ step, outcome: promise }));
  }

  /** How many bytes of its part of a step have arrived. */
  arrivedOf(step: number): number {
    if (this.receiving?.step === step) return this.receivedBytes;
    return this.#awaited.has(step) ? this.part.firstStepBytes : 0;
  }

  /** It has this stream now. */
  attach(stream: Stream): void {
    this.#stream = stream;
  }

  /** A stream has ended; an older one than it has now changes nothing. */
  detach(stream: Stream): void {
    if (this.#stream === stream) this.#stream = undefined;
  }

  /** It comes back on another stream, which may begin its step again; with `takeover` it was away against its will. */
  comeBack(takeover: boolean): void {
    this.#mayRestart = true;
    this.#resentThrough = takeover ? this.#wholeStep : undefined;
  }

  /** Whether its stream is new and in a step that an older one has begun. Asked once, of what comes first. */
  takeRestart(): boolean {
    const mayRestart = this.#mayRestart && this.#state.kind !== 'IDLE';
    this.#mayRestart = false;
    return mayRestart;
  }

  /** The first bytes of a step have come. From IDLE. */
  begin(step: number, sink: Sink): void {
    assert(this.#state.kind === 'IDLE', 'a writer begins one step after the other');
    this.#state = { ...sink, step, receivedBytes: 0 };
  }

  /** So many bytes of the step have come. */
  advance(receivedBytes: number): void {
    assert(this.#state.kind !== 'IDLE', 'bytes are of a step');
    this.#state = { ...this.#state, receivedBytes };
  }

  /** The step being received begins again. */
  restart(): void {
    this.advance(0);
    this.#clear();
  }

  /** The step being received was dropped: the rest of it is counted. From STAGING. */
  ignore(): void {
    assert(this.#state.kind === 'STAGING', 'what is dropped was staged');
    const { step, receivedBytes } = this.#state;
    this.#state = { kind: 'IGNORING', why: 'DROPPED', step, receivedBytes };
  }

  /** Its step has come to its end, or is forgotten. */
  end(): void {
    this.#state = IDLE;
    this.#clear();
  }

  /** Its part of a step is whole: the outcome, once it is there. Ends the step. */
  sentWhole(step: number): Promise<CommitOutcome> {
    this.#wholeStep = step;
    const waiter = createWaiter<CommitOutcome>();
    this.#awaited.set(step, waiter);
    this.end();
    return waiter.promise;
  }

  /** The outcome of a step of which its part was whole, while it is open and for a while after. */
  outcomeOf(step: number): Promise<CommitOutcome> | undefined {
    return this.#awaited.get(step)?.promise ?? this.#settled.get(step);
  }

  settle(step: number, outcome: CommitOutcome): void {
    this.#awaited.get(step)?.resolve(outcome);
    this.#forget(step);
  }

  /** The outcome of a step, or of all, is this error. */
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
