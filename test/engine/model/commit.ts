import { expect } from 'vitest';
import { ShadowkeepError } from '../../../src/common/index.js';
import { closeStream } from '../fixtures.js';
import type { Commands } from './commands.js';
import type { Random } from './random.js';
import { type OpenReader, type OpenWriter, refusalOf, type Subject } from './subject.js';

/** What comes while a step is being folded, and is checked when it has been. */
interface During {
  readonly waits: Promise<void>[];
  isDeleted: boolean;
}

/** Commits, with everything that may happen between two slices of their fold. */
export class Committer {
  constructor(
    private readonly random: Random,
    private readonly isUnbounded: boolean,
    private readonly commands: Commands,
    /** Does something with another run. */
    private readonly elsewhere: (subject: Subject) => Promise<void>,
  ) {}

  /** True in the answer: the run was deleted meanwhile. */
  async commit(subject: Subject): Promise<{ what: string; isDeleted: boolean }> {
    const { random } = this;
    const { run } = subject;
    const opened = subject.writer === undefined ? this.commands.openWriter(subject) : '';
    const { writer } = subject;
    if (writer === undefined) return { what: opened, isDeleted: false };
    if (random.oneIn(12) && writer.sending === undefined) {
      return { what: await skip(subject, writer, random), isDeleted: false };
    }
    if (!random.oneIn(8)) {
      this.commands.beginStep(subject, writer);
      const pieces = random.between(1, 6);
      for (let piece = 0; piece < pieces; piece++) this.commands.stageNext(writer, 16 * random.between(1, 200));
      this.commands.stageNext(writer, Number.MAX_SAFE_INTEGER);
    }
    const during: During = { waits: [], isDeleted: false };
    const sending = writer.sending ?? {
      step: (run.committedStep ?? 0) + random.below(2),
      space: Buffer.alloc(0),
      sent: 0,
    };
    const step = random.oneIn(16) ? sending.step + 1 : sending.step;
    const bytes = random.oneIn(16) ? sending.space.length + 64 : sending.space.length;
    const isInitial = run.committedStep === undefined ? !random.oneIn(3) : random.oneIn(10);
    const expected = this.outcome(subject, writer, step, bytes, isInitial);
    const held = subject.readers.filter(({ engine }) => engine.evicted === undefined);
    let driven: Promise<void> | undefined;
    const drive = (fold: Iterable<void>): Promise<void> => {
      driven = this.drive(subject, fold, during);
      return driven;
    };
    const commit = writer.engine.commit({ step, bytes, isInitial, isSkipped: false }, drive);
    const found = await commit.then(
      ({ state }) => state,
      (error: unknown) => {
        if (error instanceof ShadowkeepError) return error.reason;
        throw error;
      },
    );
    // A deletion ends the commit before the fold has seen it.
    await driven;
    if (during.isDeleted) expect(found).toBe('RUN_DELETED');
    else expect(found).toBe(expected);
    if (found === 'COMMITTED') subject.naive.commit(step, sending.space, writer.wireDType, isInitial);
    if (['COMMITTED', 'ALREADY_COMMITTED', 'REJECTED'].includes(found)) writer.sending = undefined;
    if (found === 'STEP_CONFLICT') this.endStream(subject, writer);
    if (found === 'COMMITTED') this.checkEvictions(held);
    await Promise.all(during.waits);
    const lost = held.filter(({ engine }) => engine.evicted === 'MEMORY').length;
    const what = `${opened} commit ${step}${isInitial ? ' initial' : ''}: ${found}${lost > 0 ? `, ${lost} evicted` : ''}`;
    return { what, isDeleted: during.isDeleted };
  }

  /** What the naive rules say. */
  private outcome(subject: Subject, writer: OpenWriter, step: number, bytes: number, isInitial: boolean): string {
    const { head, spec } = subject.naive;
    const { sending } = writer;
    if (sending !== undefined && sending.sent > 0 && step !== sending.step) return 'STEP_MISMATCH';
    if (head.step !== undefined && step <= head.step) {
      const sent = sending?.space.subarray(0, sending.sent) ?? Buffer.alloc(0);
      return subject.naive.isConflict(step, sent, writer.wireDType) ? 'STEP_CONFLICT' : 'ALREADY_COMMITTED';
    }
    const totals = [true, head.step === undefined].map((withOnce) =>
      subject.naive.stepBytes(writer.wireDType, withOnce),
    );
    if (!totals.includes(bytes) || (sending?.sent ?? 0) !== bytes) return 'STEP_INCOMPLETE';
    if (isInitial && head.step !== undefined) return 'INITIAL_TOO_LATE';
    const lacksInitial = head.step === undefined && spec.averages.some(({ start }) => start === 'INITIAL');
    if (lacksInitial && !isInitial) return 'INITIAL_REQUIRED';
    const allFinite = subject.naive.nonFinite(sending?.space ?? Buffer.alloc(0), writer.wireDType).size === 0;
    return spec.nonFinite === 'REJECT_STEP' && !allFinite ? 'REJECTED' : 'COMMITTED';
  }

  /** A step that was committed came again as another one: the stream has ended. */
  private endStream(subject: Subject, { engine, failures }: OpenWriter): void {
    expect(failures.map(({ reason }) => reason)).toEqual(['STEP_CONFLICT']);
    expect(refusalOf(() => engine.stage(1, 0, Buffer.alloc(16)))?.reason).toBe('STEP_CONFLICT');
    closeStream(engine);
    subject.writer = undefined;
  }

  /** Only the oldest readers lose their version, and only when memory is short. */
  private checkEvictions(held: readonly OpenReader[]): void {
    const ids = (isEvicted: boolean): number[] => {
      return held
        .filter(({ engine }) => (engine.evicted === 'MEMORY') === isEvicted)
        .map(({ engine }) => engine.version.id);
    };
    const evicted = ids(true);
    const kept = ids(false).filter((id) => !evicted.includes(id) || expect.fail(`version ${id} is half evicted`));
    expect(Math.max(0, ...evicted)).toBeLessThan(Math.min(Number.POSITIVE_INFINITY, ...kept));
    if (this.isUnbounded) expect(evicted).toEqual([]);
  }

  private async drive(subject: Subject, fold: Iterable<void>, during: During): Promise<void> {
    const { random } = this;
    this.waitForHead(subject, during);
    for (const _ of fold) {
      if (during.isDeleted || !random.oneIn(3)) continue;
      await Promise.resolve();
      await this.betweenSlices(subject, during);
    }
    this.waitForHead(subject, during);
  }

  private async betweenSlices(subject: Subject, during: During): Promise<void> {
    const { random } = this;
    const head = subject.run.head;
    const retired = subject.readers.filter(({ engine }) => engine.evicted === undefined && engine.version !== head);
    switch (random.below(7)) {
      case 0:
        this.commands.release(subject);
        break;
      case 1:
        if (retired.length > 0) subject.pin(retired[0]!.engine.version, retired[0]!.naive);
        break;
      case 2:
        this.waitForHead(subject, during);
        break;
      case 3:
        await this.elsewhere(subject);
        break;
      case 4:
        if (!random.oneIn(12)) break;
        this.commands.delete(subject);
        during.isDeleted = true;
        during.waits.push(subject.run.whenSettled(() => this.commands.checkDeleted(subject)));
        return;
      default:
        subject.checkBytes(random, false);
    }
  }

  /** A reader of the newest version, some ticks from now: it gets what is the head when it gets it, whole. */
  private waitForHead(subject: Subject, during: During): void {
    const ticks = this.random.below(14);
    const wait = async (): Promise<void> => {
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      const got = await subject.run.whenSettled(() => {
        const { run } = subject;
        return run.isDeleted || run.committedStep === undefined ? undefined : run.pin(run.head);
      });
      if (got === undefined) return;
      // The naive version of the same step is there once the commit that the sequence awaits has returned.
      for (let tick = 0; tick < 50 && subject.naive.head.step !== got.version.step; tick++) await Promise.resolve();
      expect(subject.naive.head.step).toBe(got.version.step);
      subject.readers.push({ engine: got, naive: subject.naive.head });
    };
    during.waits.push(wait());
  }
}

/** The optimizer skipped a step, now and then one that is committed already. */
async function skip({ run, naive }: Subject, { engine }: OpenWriter, random: Random): Promise<string> {
  const before = run.committedStep;
  const step = (before ?? 0) + random.below(4);
  const { state } = await engine.commit({ step, bytes: 0, isInitial: false, isSkipped: true }, neverFolds);
  expect(state).toBe(before !== undefined && step <= before ? 'ALREADY_COMMITTED' : 'SKIPPED');
  if (state === 'SKIPPED') naive.skip(step);
  expect(run.committedStep).toBe(naive.head.step);
  return `skip ${step}: ${state}`;
}

async function neverFolds(): Promise<void> {
  expect.fail('a skipped step is not folded');
}
