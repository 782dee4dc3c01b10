import { expect } from 'vitest';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import type { RunOptions } from '../../../src/engine/run-spec.js';
import type { KernelMode } from '../../../src/kernels/index.js';
import type { ListedSpec } from '../fixtures.js';
import { Commands } from './commands.js';
import { Committer } from './commit.js';
import { Random } from './random.js';
import { sampleSpec } from './samples.js';
import { refusalOf, Subject } from './subject.js';

const COMMAND_COUNT_MAX = 45;
const RUN_COUNT_MAX = 3;
/** More than any sequence takes. */
export const UNBOUNDED_BYTES = 2 ** 40;

/** One random interleaving of what clients do, checked after each command. */
export class Sequence {
  /** What was done, for a failure's message. */
  readonly log: string[] = [];
  private readonly random: Random;
  private readonly firstSpec: ListedSpec;
  private readonly ledger: Ledger;
  private readonly subjects: Subject[] = [];
  private readonly commands: Commands;
  private readonly committer: Committer;
  private readonly mode: KernelMode;
  private readonly pageBytesMax: number;
  private readonly arenaBytesMax: number;
  private isElsewhere = false;
  private runCount = 0;

  constructor(seed: number, mode: KernelMode) {
    const random = new Random(seed);
    this.random = random;
    this.mode = mode;
    this.pageBytesMax = random.pick([4, 4, 16]) * 1_024;
    // The least that holds a page of each plane, or more; a scratch of 256 KiB is in it.
    this.arenaBytesMax = (this.pageBytesMax === 4_096 ? random.pick([512, 704]) : 2_048) * 1_024;
    this.firstSpec = sampleSpec(random, 'run0');
    const neededBytes = this.subjectAlone(this.firstSpec).neededBytes;
    // Unbounded, or so much that the first run fits and little besides: some more pages, a second run perhaps.
    const isTight = random.oneIn(2);
    this.ledger = new Ledger(isTight ? Math.floor(neededBytes * (1 + random.below(150) / 100)) : UNBOUNDED_BYTES);
    this.commands = new Commands(random, this.ledger);
    this.committer = new Committer(random, !isTight, this.commands, (subject) => this.elsewhere(subject));
  }

  async play(): Promise<void> {
    for (let left = this.random.between(10, COMMAND_COUNT_MAX); left > 0; left--) {
      await this.command();
      this.check();
    }
    while (this.subjects.length > 0) this.remove(this.subjects[0]!);
    expect(this.ledger.usedBytes).toBe(0);
  }

  private async command(): Promise<void> {
    const { random, commands, subjects } = this;
    if (subjects.length === 0 || (subjects.length < RUN_COUNT_MAX && random.oneIn(20))) return this.open();
    const subject = random.pick(subjects);
    const at = random.below(100);
    if (at < 20) this.log.push(commands.stage(subject));
    else if (at < 60) await this.commit(subject);
    else if (at < 80) this.log.push(commands.pin(subject));
    else if (at < 89) this.log.push(commands.release(subject));
    else if (at < 93) this.log.push(commands.abort(subject));
    else if (at < 99) this.log.push(commands.attach(subject));
    else this.remove(subject);
  }

  /** A run that has all the memory it wants. */
  private subjectAlone(spec: ListedSpec): Subject {
    return new Subject(spec, new Ledger(UNBOUNDED_BYTES), this.mode, this.options);
  }

  private get options(): RunOptions {
    const { pageBytesMax, arenaBytesMax } = this;
    return { pageBytesMax, arenaBytesMax, yieldElements: this.random.pick([64, 1_000, 100_000]) };
  }

  /** Opens a run; refused exactly when its shadows and one step in flight do not fit. */
  private open(): void {
    const { random, ledger } = this;
    this.runCount += 1;
    const spec = this.runCount === 1 ? this.firstSpec : sampleSpec(random, `run${this.runCount}`);
    const { neededBytes } = this.subjectAlone(spec);
    const [used, free] = [ledger.usedBytes, ledger.freeBytes];
    const refusal = refusalOf(() => this.subjects.push(new Subject(spec, ledger, this.mode, this.options)));
    expect(refusal?.reason).toBe(neededBytes <= free ? undefined : 'MEMORY_EXHAUSTED');
    if (refusal !== undefined) {
      expect(ledger.usedBytes).toBe(used);
      expect(refusal.metadata).toEqual({
        askedBytes: `${neededBytes}`,
        freeBytes: `${free}`,
        totalBytes: `${ledger.budgetBytes}`,
      });
    }
    this.log.push(`open ${JSON.stringify(spec)} ${refusal?.reason ?? ''}`);
  }

  private async commit(subject: Subject): Promise<void> {
    const { what, isDeleted } = await this.committer.commit(subject);
    this.log.push(`${subject.run.spec.name} ${what}`);
    if (isDeleted) this.subjects.splice(this.subjects.indexOf(subject), 1);
  }

  private remove(subject: Subject): void {
    this.log.push(`${subject.run.spec.name} ${this.commands.delete(subject)}`);
    this.commands.checkDeleted(subject);
    this.subjects.splice(this.subjects.indexOf(subject), 1);
  }

  /** While a run is being folded another one lives on; its own commits wait for nobody. */
  private async elsewhere(busy: Subject): Promise<void> {
    const other = this.subjects.find((subject) => subject !== busy);
    if (other === undefined || this.isElsewhere) return;
    this.isElsewhere = true;
    try {
      if (this.random.oneIn(2)) await this.commit(other);
      else this.log.push(this.commands.stage(other));
    } finally {
      this.isElsewhere = false;
    }
  }

  private check(): void {
    for (const subject of this.subjects) {
      subject.checkBytes(this.random, true);
      subject.checkPages();
    }
    expect(this.ledger.usedBytes).toBe(this.subjects.reduce((sum, { reservedBytes }) => sum + reservedBytes, 0));
    expect(this.ledger.usedBytes).toBeLessThanOrEqual(this.ledger.budgetBytes);
  }
}
