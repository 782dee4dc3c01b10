import { expect } from 'vitest';
import { FLOAT_DTYPES, type FloatDType, type ShadowkeepError } from '../../../src/common/index.js';
import type { Ledger } from '../../../src/engine/memory/ledger.js';
import { closeStream } from '../fixtures.js';
import type { Random } from './random.js';
import { sampleStep } from './samples.js';
import { lifeOf, type OpenWriter, refusalOf, requestOf, type Subject } from './subject.js';

/** What clients do to one run. Each command checks its own outcome; the sequence checks the bytes and the memory after. */
export class Commands {
  constructor(
    private readonly random: Random,
    private readonly ledger: Ledger,
  ) {}

  /** Opens the writer's stream where none is; refused exactly when its staging does not fit. */
  openWriter(subject: Subject): string {
    const { random } = this;
    const { run } = subject;
    const wireDType: FloatDType | undefined = random.oneIn(2) ? random.pick(FLOAT_DTYPES) : undefined;
    if (subject.writer !== undefined) {
      expect(refusalOf(() => run.openWriter(requestOf(run, wireDType), fail))?.reason).toBe('WRITER_BUSY');
      return 'second writer';
    }
    if (run.generation === 0) run.attach(lifeOf(''));
    if (random.oneIn(8)) {
      const wrong = run.generation + (random.oneIn(2) ? 1 : -1);
      const reason = wrong < run.generation ? 'GENERATION_FENCED' : 'GENERATION_UNKNOWN';
      expect(refusalOf(() => run.openWriter({ ...requestOf(run, wireDType), generation: wrong }, fail))?.reason).toBe(
        reason,
      );
    }
    const missing = subject.stagingPages(wireDType) - run.memory.freeBytes / subject.pageBytes;
    const fits = subject.slotBytes(Math.max(0, missing)) <= this.ledger.freeBytes;
    const failures: ShadowkeepError[] = [];
    const refusal = refusalOf(() => {
      const engine = run.openWriter(requestOf(run, wireDType), (error) => failures.push(error));
      subject.writer = { engine, wireDType, failures, sending: undefined };
    });
    expect(refusal?.reason).toBe(fits ? undefined : 'MEMORY_EXHAUSTED');
    return `open writer ${wireDType ?? ''} ${refusal?.reason ?? ''}`;
  }

  /** Sends some more of a step, now and then something that must be refused and change nothing. */
  stage(subject: Subject): string {
    const { random } = this;
    const { writer } = subject;
    if (writer === undefined) return this.openWriter(subject);
    if (random.oneIn(4)) return this.stageWrong(subject, writer);
    this.beginStep(subject, writer);
    for (let chunks = random.between(1, 4); chunks > 0; chunks--) this.stageNext(writer, 16 * random.between(1, 200));
    return `stage ${writer.sending?.step}: ${writer.sending?.sent} of ${writer.sending?.space.length}`;
  }

  /** Chooses a step, now and then one that is committed already: as it was, or with other content. */
  beginStep({ run, naive }: Subject, writer: OpenWriter): void {
    const { random } = this;
    if (writer.sending !== undefined) return;
    const committed = run.committedStep ?? 0;
    const isOld = committed > 0 && random.oneIn(8);
    const step = isOld ? random.between(0, committed) : committed + random.between(1, 3);
    const withOnce = run.committedStep === undefined || random.oneIn(2);
    const before = isOld && !random.oneIn(4) ? naive.sent(step, writer.wireDType) : undefined;
    const space = before ?? sampleStep(random, naive.spec, writer.wireDType, withOnce);
    writer.sending = { step, space, sent: 0 };
  }

  /** Sends the next `bytes` of the step, fewer at its end. */
  stageNext({ engine, sending }: OpenWriter, bytes: number): void {
    if (sending === undefined || sending.sent === sending.space.length) return;
    const data = sending.space.subarray(sending.sent, sending.sent + bytes);
    engine.stage(sending.step, sending.sent, data);
    sending.sent += data.length;
  }

  private stageWrong(subject: Subject, writer: OpenWriter): string {
    const { engine, sending } = writer;
    const total = subject.naive.stepBytes(writer.wireDType, true);
    const step = sending?.step ?? 7;
    const sent = sending?.sent ?? 0;
    const attempts: [string, () => void][] = [
      ['CHUNK_PAST_END', () => engine.stage(step, sent, Buffer.alloc(total - sent + 16))],
      ['INVALID_FIELD', () => engine.stage(step, sent, Buffer.alloc(0))],
    ];
    if (total - sent > 64) {
      attempts.push(['CHUNK_GAP', () => engine.stage(step, sent + 16, Buffer.alloc(16))]);
      attempts.push(['CHUNK_UNALIGNED', () => engine.stage(step, sent, Buffer.alloc(17))]);
    }
    if (sent > 0) attempts.push(['CHUNK_OVERLAP', () => engine.stage(step, sent - 16, Buffer.alloc(16))]);
    if (sending !== undefined && sent > 0) {
      attempts.push(['STEP_MISMATCH', () => engine.stage(step + 1, sent, Buffer.alloc(16))]);
    }
    const [reason, attempt] = this.random.pick(attempts);
    expect(refusalOf(attempt)?.reason).toBe(reason);
    return `stage wrongly: ${reason}`;
  }

  /** A new life of the trainer, or an old one that comes back. */
  attach(subject: Subject): string {
    const { random } = this;
    const { run, writer } = subject;
    const before = run.generation;
    const incarnation = random.oneIn(3) ? '' : `life ${random.below(4)}`;
    let generation = 0;
    const refusal = refusalOf(() => {
      generation = run.attach(lifeOf(incarnation));
    });
    if (refusal !== undefined) expect(refusal.reason).toBe('GENERATION_FENCED');
    else expect(generation).toBe(run.generation);
    if (incarnation === '' && before > 0) expect(run.generation).toBe(before);
    if (run.generation > before && writer !== undefined) {
      expect(writer.failures.map(({ reason }) => reason)).toEqual(['GENERATION_FENCED']);
      expect(refusalOf(() => writer.engine.stage(1, 0, Buffer.alloc(16)))?.reason).toBe('GENERATION_FENCED');
      closeStream(writer.engine);
      subject.writer = undefined;
    }
    return `attach ${incarnation}: ${refusal?.reason ?? generation}`;
  }

  /** The stream breaks, wherever it is. */
  abort(subject: Subject): string {
    const { writer } = subject;
    if (writer === undefined) return 'nothing to abort';
    closeStream(writer.engine);
    closeStream(writer.engine);
    subject.writer = undefined;
    return `abort ${writer.sending?.step}`;
  }

  /** A reader comes: to the head, or to an older version that somebody holds. */
  pin(subject: Subject): string {
    const { run, naive } = subject;
    if (run.committedStep === undefined) return 'nothing to pin';
    const old = subject.readers.filter(({ engine }) => engine.evicted === undefined && engine.version !== run.head);
    if (old.length > 0 && this.random.oneIn(3)) {
      const held = this.random.pick(old);
      if (held.engine.version.isPinned) subject.pin(held.engine.version, held.naive);
      return `pin ${held.naive.step}`;
    }
    subject.pin(run.head, naive.head);
    return `pin head ${run.committedStep}`;
  }

  release(subject: Subject): string {
    if (subject.readers.length === 0) return 'nothing to release';
    const reader = this.random.pick(subject.readers);
    reader.engine.release();
    reader.engine.release();
    subject.readers = subject.readers.filter((other) => other !== reader);
    return `release ${reader.naive.step}`;
  }

  /** Ends every stream; all of the run's memory is the ledger's again. */
  delete(subject: Subject): string {
    const used = this.ledger.usedBytes;
    const reserved = subject.reservedBytes;
    expect(subject.run.delete()).toBe(reserved);
    expect(this.ledger.usedBytes).toBe(used - reserved);
    for (const { engine } of subject.readers) expect(engine.evicted).toBeDefined();
    if (subject.writer !== undefined) {
      const { engine, failures } = subject.writer;
      expect(failures.map(({ reason }) => reason)).toEqual(['RUN_DELETED']);
      expect(refusalOf(() => engine.stage(1, 0, Buffer.alloc(16)))?.reason).toBe('RUN_DELETED');
    }
    return 'delete';
  }

  /** Nobody opens a writer of it any more. */
  checkDeleted({ run }: Subject): void {
    expect(refusalOf(() => run.openWriter(requestOf(run, undefined), fail))?.reason).toBe('RUN_DELETED');
  }
}

function fail(error: ShadowkeepError): void {
  throw error;
}
