import { createWaiter, type ShadowkeepError, type Waiter } from '../../common/index.js';
import { type DigestValue, EMPTY_DIGEST } from '../digest.js';
import type { NonFinitePolicy } from '../non-finite.js';
import { NonFiniteScan } from '../non-finite.js';
import type { CommitOutcome } from '../run-spec.js';
import type { WirePlan } from '../wire-plan.js';
import { type Part, PartCursor } from '../world/index.js';
import type { StagedStep } from './staged-step.js';

/**
 * Where the bytes of a step go: to its staging; or, of one that is decided already, or has come whole from this writer, only
 * into the count and the digest.
 */
export type Sink = StagedStep<Member> | 'REPLAYED' | 'DROPPED' | 'REPEATED';

/** The stream of a writer, for those who end it. */
interface Stream {
  fail(error: ShadowkeepError): void;
}

/** Acks that can have been lost with one stream, and more. */
const SETTLED_COUNT_MAX = 16;

/** One of the writers of a generation, whichever stream it has: what it sends, and how far it is. */
export class Member {
  readonly number: number;
  readonly part: Part;
  /** Its boxes that others send, by their index. */
  readonly leftOut: readonly number[];
  /** Undefined: its stream broke, or has ended. */
  stream: Stream | undefined;
  /** The step being received, if one has begun. */
  receiving: { readonly step: number; readonly sink: Sink } | undefined;
  receivedBytes = 0;
  /** Of the step being received. */
  readonly nonFinite: NonFiniteScan;
  digest: DigestValue = EMPTY_DIGEST;
  /** The newest step that it has sent whole. */
  wholeStep: number | undefined;
  /** Its stream is new and may begin a step again that an older one has begun. */
  mayRestart = false;
  /** What its stream sends up to this step, an older one has sent whole: its client has heard no outcome. */
  resentThrough: number | undefined;
  readonly cursor: PartCursor;
  readonly #awaited = new Map<number, Waiter<CommitOutcome>>();
  /** The last ones that were settled: their acks may have been lost, and their steps sent again. */
  readonly #settled = new Map<number, Promise<CommitOutcome>>();

  constructor(number: number, plan: WirePlan, part: Part, leftOut: readonly number[], nonFinite: NonFinitePolicy) {
    this.number = number;
    this.part = part;
    this.leftOut = leftOut;
    this.nonFinite = new NonFiniteScan(plan, nonFinite);
    this.cursor = new PartCursor(part);
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

  /** Forgets the step being received. */
  reset(): void {
    this.receiving = undefined;
    this.restart();
  }

  /** Begins the step being received again. */
  restart(): void {
    this.receivedBytes = 0;
    this.cursor.reset();
    this.nonFinite.reset();
    this.digest = EMPTY_DIGEST;
  }

  /** The outcome of a step of which its part was whole, while it is open and for a while after. */
  outcomeOf(step: number): Promise<CommitOutcome> | undefined {
    return this.#awaited.get(step)?.promise ?? this.#settled.get(step);
  }

  /** The outcome of a step, once it is there. */
  await(step: number): Promise<CommitOutcome> {
    const waiter = createWaiter<CommitOutcome>();
    this.#awaited.set(step, waiter);
    return waiter.promise;
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
