import { expect } from 'vitest';
import type { FloatDType } from '../../../src/common/index.js';
import { BoxList, type Run } from '../../../src/engine/index.js';
import type { Ledger } from '../../../src/engine/memory/ledger.js';
import type { NaiveRun } from '../model/naive-run.js';
import type { Random } from '../model/random.js';
import { refusalOf } from '../model/subject.js';
import { Generation } from './generation.js';
import type { Versions } from './versions.js';

const WRITER_COUNTS = [1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 11, 16];

/** Steps by which a trainer is past every step that the model's writers have been told of. */
const AHEAD_OF_ALL = 1_000_000;

/** What the ledger counts of a page beside its bytes: room for its skew. */
export const SLOT_EXTRA_BYTES = 4_096;

/** The trainer of a run, through its restarts. */
export class Trainer {
  generation: Generation;
  private readonly wireDTypes = new Map<number, FloatDType | undefined>();
  private lives = 0;
  private readonly former: { readonly incarnation: string; readonly number: number }[] = [];

  constructor(
    readonly run: Run,
    readonly naive: NaiveRun,
    private readonly ledger: Ledger,
    private readonly versions: Versions,
    private readonly random: Random,
  ) {
    this.generation = this.nextLife(undefined);
  }

  wireDTypeOf(generation: number): FloatDType | undefined {
    return this.wireDTypes.get(generation);
  }

  get pageBytes(): number {
    const { plane } = this.run.head.shadows[0]!;
    return plane.pageElements * plane.elementBytes;
  }

  /** What is staged of one step. */
  get stagingPages(): number {
    const { naive, generation, pageBytes } = this;
    return Math.ceil(naive.stepBytes(generation.wireDType, naive.head.step === undefined) / pageBytes);
  }

  /** Whether the memory has room for what a writer declares, and with the last one for a step. */
  fits(boxes: BoxList | undefined, isLast: boolean): boolean {
    const { run, ledger, pageBytes } = this;
    const declared = boxes ?? (this.generation.writerCount === 1 ? undefined : BoxList.of([]));
    const left = ledger.freeBytes - (declared?.bytes ?? 0);
    const missing = isLast ? Math.max(0, this.stagingPages - run.memory.freeBytes / pageBytes) : 0;
    return missing * (pageBytes + SLOT_EXTRA_BYTES) <= left;
  }

  /** The steps that have been decided by now. */
  follow(): void {
    this.generation.inFlight.follow(this.run, () => this.versions.follow());
  }

  /** A new life of the trainer, another sharding, another number of writers; perhaps from an older version. */
  restart(): { what: string; isNew: boolean } {
    const { random, naive, versions } = this;
    versions.checkRetained();
    const { retained } = versions;
    const committed = naive.head.step;
    if (random.oneIn(3)) return { what: this.attachWrong(), isNew: false };
    const isBack = committed !== undefined && retained.length > 0 && random.oneIn(2);
    const resumeStep = isBack ? random.between(retained[0]!, committed + 1) : undefined;
    const before = this.generation;
    this.former.push(before);
    before.inFlight.fail('GENERATION_FENCED');
    this.generation = this.nextLife(resumeStep);
    const { number, writerCount } = this.generation;
    const from = resumeStep === undefined ? '' : `, back to ${resumeStep}: ${naive.head.step}`;
    return { what: `generation ${number} of ${writerCount} writers${from}`, isNew: true };
  }

  private nextLife(resumeStep: number | undefined): Generation {
    const { random, run, naive } = this;
    this.lives += 1;
    const incarnation = `life ${this.lives}`;
    const writers = random.pick(WRITER_COUNTS);
    if (resumeStep !== undefined) this.versions.rewind(resumeStep);
    const trainerStep = random.oneIn(2) ? (naive.head.step ?? 7) : undefined;
    const generation = run.attach({ incarnation, writers, resumeStep, trainerStep });
    expect(generation).toBe(this.lives);
    // Each of the writers says so.
    expect(run.attach({ incarnation, writers, resumeStep, trainerStep })).toBe(generation);
    expect([run.generation, run.writerCount, run.committedStep]).toEqual([generation, writers, naive.head.step]);
    const begun = new Generation(generation, incarnation, writers, naive, random);
    this.wireDTypes.set(generation, begun.wireDType);
    return begun;
  }

  /** What is refused and changes nothing. */
  private attachWrong(): string {
    const { random, run, naive, versions, generation, former } = this;
    const committed = naive.head.step;
    const request = { incarnation: 'nobody', writers: 2, resumeStep: undefined, trainerStep: undefined };
    const { incarnation, writerCount } = generation;
    const attempts: [string, Parameters<typeof run.attach>[0]][] = [
      ['WRITERS_MISMATCH', { ...request, incarnation, writers: writerCount + 1 }],
    ];
    for (const old of former) attempts.push(['GENERATION_FENCED', { ...request, incarnation: old.incarnation }]);
    if (committed !== undefined) attempts.push(['RUN_BEHIND', { ...request, trainerStep: committed + AHEAD_OF_ALL }]);
    if (committed !== undefined && committed > 0) {
      attempts.push(['RUN_HAS_COMMITS', { ...request, trainerStep: 0 }]);
      if (committed > 1) attempts.push(['TRAINER_BEHIND', { ...request, trainerStep: committed - 1 }]);
    }
    const oldest = versions.retained[0] ?? committed ?? 0;
    if (committed !== undefined) attempts.push(['VERSION_NOT_FOUND', { ...request, resumeStep: oldest - 1 }]);
    const [reason, attempt] = random.pick(attempts);
    const refusal = refusalOf(() => {
      run.attach(attempt);
    });
    expect(refusal?.reason).toBe(reason);
    expect([run.generation, run.writerCount]).toEqual([generation.number, writerCount]);
    return `attach wrongly: ${reason}`;
  }
}
