import type { Run } from '../../../src/engine/index.js';
import type { NaiveRun } from '../model/naive-run.js';
import type { Call, Flight, Receiving, ScriptStep, Target } from './steps.js';

/** A step was dropped, because a part did not come in time or because a writer has lost it. */
export function dropText(lostBy: number | undefined): string {
  return lostBy === undefined ? 'DROPPED' : `DROPPED, lost by ${lostBy}`;
}

/** The steps of one generation that are in flight, in the plainest way: sets of who has sent what. */
export class InFlight {
  readonly flights: Flight[] = [];
  readonly receiving = new Map<number, Receiving>();
  /** Those that were decided and are not the head or before it: rejected, or skipped before there was any. */
  readonly unseen: Flight[] = [];
  /** The newest step that each writer has sent whole. */
  readonly wholeSteps = new Map<number, number>();
  /** What its stream sends up to this step, an older one has sent whole: its acks may have been lost. */
  readonly resentThrough = new Map<number, number>();
  private droppedThrough = -1;
  /** What writers have said that they lost, in that order. */
  private readonly losses: { readonly after: number; readonly through: number; readonly writer: number }[] = [];
  private readonly replays = new Map<number, { readonly writers: Set<number>; isAltered: boolean }>();

  constructor(
    readonly writerCount: number,
    private readonly naive: NaiveRun,
  ) {}

  find(step: number): Flight | undefined {
    return this.flights.find(({ script }) => script.step === step);
  }

  /** Whether it is known what becomes of a step, whoever sends it. */
  isOld(step: number): boolean {
    return step <= Math.max(this.naive.head.step ?? -1, this.droppedThrough);
  }

  /** Whether a writer may begin a step, with memory enough. */
  hasRoom(writer: number, step: number): boolean {
    if (this.receiving.has(writer) || this.isOld(step) || this.find(step) !== undefined) return true;
    return this.flights.length < (this.naive.head.step === undefined ? 1 : 2);
  }

  /** The first bytes of a part have come, or its commit. */
  begin(writer: number, script: ScriptStep): Receiving {
    const known = this.receiving.get(writer);
    if (known !== undefined) return known;
    const target = this.targetOf(writer, script);
    if (typeof target === 'object' && 'parts' in target) target.parts.add(writer);
    const receiving = { step: script.step, target, bytes: 0 };
    this.receiving.set(writer, receiving);
    return receiving;
  }

  private targetOf(writer: number, script: ScriptStep): Target {
    const unseen = this.unseen.find((flight) => flight.script === script);
    if (unseen !== undefined) return { repeated: unseen };
    if (script.step <= (this.naive.head.step ?? -1)) return 'REPLAYED';
    if (script.step <= this.droppedThrough) return 'DROPPED';
    const found = this.find(script.step);
    if (found === undefined) {
      const flight: Flight = {
        script,
        parts: new Set(),
        whole: new Set(),
        calls: [],
        outcome: undefined,
        notFinite: undefined,
      };
      this.flights.push(flight);
      return flight;
    }
    return found.whole.has(writer) ? { repeated: found } : found;
  }

  /** A part is whole; true: the step is known, and was another one. `stepBytes` is the length of the part. */
  commit(writer: number, script: ScriptStep, stepBytes: number, call: Call): boolean {
    const { target, bytes } = this.begin(writer, script);
    this.receiving.delete(writer);
    if (target === 'REPLAYED') {
      const isConflict = bytes >= stepBytes && this.replay(writer, script, stepBytes > 0);
      call.allowed = isConflict ? 'STEP_CONFLICT' : 'ALREADY_COMMITTED';
      return isConflict;
    }
    if (target === 'DROPPED') {
      call.allowed = this.dropOf(script.step);
      return false;
    }
    const flight = 'repeated' in target ? target.repeated : target;
    if (!('repeated' in target)) {
      flight.whole.add(writer);
      this.wholeSteps.set(writer, script.step);
    }
    call.flight = flight;
    call.allowed = flight.outcome;
    flight.calls.push(call);
    return false;
  }

  private replay(writer: number, script: ScriptStep, hasBytes: boolean): boolean {
    const { step, wireDType, altered } = script;
    const replay = this.replays.get(step) ?? { writers: new Set(), isAltered: false };
    if (replay.writers.has(writer)) return false;
    replay.writers.add(writer);
    replay.isAltered ||= altered === writer && hasBytes;
    this.replays.set(step, replay);
    if (replay.writers.size < this.writerCount) return false;
    this.replays.delete(step);
    return replay.isAltered && this.naive.sent(step, wireDType) !== undefined;
  }

  /** Follows the run: which whole steps have been decided since; a step is committed when its version is there. */
  follow(run: Run, onVersion: () => void): void {
    for (let [flight] = this.flights; flight?.whole.size === this.writerCount; [flight] = this.flights) {
      const { step } = flight.script;
      if (flight.outcome === undefined) {
        const outcome = this.outcomeOf(flight);
        const isSeen = outcome === 'COMMITTED' || (outcome === 'SKIPPED' && this.naive.head.step !== undefined);
        if (isSeen ? (run.committedStep ?? -1) < step : run.oldestStep === step) return;
        this.decide(flight, outcome);
        onVersion();
      }
      if (run.oldestStep === step) return;
      this.flights.shift();
    }
  }

  private decide(flight: Flight, outcome: string): void {
    const { step, space, wireDType, isInitial } = flight.script;
    if (outcome === 'COMMITTED') this.naive.commit(step, space, wireDType, isInitial);
    else if (outcome === 'SKIPPED') this.naive.skip(step);
    if (step > (this.naive.head.step ?? -1)) this.unseen.push(flight);
    this.settle(flight, outcome);
  }

  /** A writer has come back on another stream, which says so or not. */
  reopen(writer: number, takeover: boolean): void {
    const whole = takeover ? this.wholeSteps.get(writer) : undefined;
    if (whole === undefined) this.resentThrough.delete(writer);
    else this.resentThrough.set(writer, whole);
  }

  /** Steps that a writer has heard nothing of, where it said that it came back. */
  unheard(writer: number): ScriptStep[] {
    const through = this.resentThrough.get(writer) ?? -1;
    return this.unseen
      .map(({ script }) => script)
      .filter(({ step }) => step <= through && !this.isOld(step))
      .slice(-8);
  }

  private settle(flight: Flight, outcome: string): void {
    flight.outcome = outcome;
    for (const call of flight.calls) call.allowed = outcome;
  }

  /** What the naive rules say of a whole step. */
  private outcomeOf(flight: Flight): string {
    const { spec } = this.naive;
    if (flight.script.isSkipped) return 'SKIPPED';
    return spec.nonFinite === 'REJECT_STEP' && this.notFiniteIn(flight).size > 0 ? 'REJECTED' : 'COMMITTED';
  }

  /** Names of the tensors of a step that are not finite. */
  notFiniteIn(flight: Flight): ReadonlySet<string> {
    const { space, wireDType } = flight.script;
    flight.notFinite ??= new Set([...this.naive.nonFinite(space, wireDType)].map(({ name }) => name));
    return flight.notFinite;
  }

  /** The step that is decided next is dropped; returns the writers whose streams that ends. */
  drop(): number[] {
    const [flight] = this.flights;
    if (flight === undefined || flight.whole.size === this.writerCount) return [];
    this.flights.shift();
    if (flight.whole.size > 0) this.droppedThrough = flight.script.step;
    const ended = [...flight.parts].filter((writer) => !flight.whole.has(writer));
    for (const writer of ended) this.receiving.delete(writer);
    this.settle(flight, 'DROPPED');
    return ended;
  }

  /** A writer has lost what it has not sent of the steps up to this one: they are dropped, whoever is in the middle of them. */
  lose(writer: number, through: number): void {
    if ((this.receiving.get(writer)?.step ?? through + 1) <= through) this.discard(writer);
    this.losses.push({ after: this.droppedThrough, through, writer });
    this.droppedThrough = Math.max(this.droppedThrough, through);
    for (const flight of this.flights.filter(({ script }) => script.step <= through)) {
      for (const receiving of this.receiving.values()) if (receiving.target === flight) receiving.target = 'DROPPED';
      this.flights.splice(this.flights.indexOf(flight), 1);
      this.settle(flight, this.dropOf(flight.script.step));
    }
  }

  private dropOf(step: number): string {
    const loss = this.losses.find(({ after, through }) => after < step && step <= through);
    return dropText(loss?.writer);
  }

  /** What a writer has sent of a step that is not whole is gone. */
  discard(writer: number): void {
    const target = this.receiving.get(writer)?.target;
    this.receiving.delete(writer);
    if (typeof target !== 'object' || !('parts' in target)) return;
    target.parts.delete(writer);
    if (target.parts.size === 0) this.flights.splice(this.flights.indexOf(target), 1);
  }

  /** All streams have ended: who waits is told so, unless the outcome was there before. */
  fail(reason: string): void {
    for (const { calls } of this.flights) {
      for (const call of calls) if (call.found === undefined) call.ended ??= reason;
    }
  }

  /** All writers have gone, and what they have staged. */
  abandon(): void {
    for (const { calls } of this.flights) for (const call of calls) call.isAbandoned = true;
  }
}
