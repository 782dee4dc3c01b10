import { type Reader, Run } from '../../../src/engine/index.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import type { KernelMode } from '../../../src/kernels/index.js';
import type { ListedSpec } from '../fixtures.js';
import { same } from '../model/compare.js';
import { NaiveRun } from '../model/naive-run.js';
import { Random } from '../model/random.js';
import { sampleSpec } from '../model/samples.js';
import { Commands } from './commands.js';
import { Events } from './events.js';
import { checkMemory, neededBytes } from './memory.js';
import { checkReplay } from './replay.js';
import { Sending } from './sending.js';
import { checkStates } from './states.js';
import { Streams } from './streams.js';
import { Trainer } from './trainer.js';
import { Versions } from './versions.js';
import { sampleShape } from './worlds.js';

const COMMAND_COUNT_MAX = 24;
/** More than any sequence takes. */
const UNBOUNDED_BYTES = 2 ** 40;
/** What the boxes of a generation take at most. */
const BOXES_BYTES = 65_536;
/** Elements of a tensor that spreads over a few pages. */
const LARGE_COUNT_MAX = 2_600;
/** A trainer that has nothing in its way sends a step in fewer rounds. */
const ROUND_COUNT_MAX = 10;

/** One random life of a run with many writers, checked after each command. */
export class Sequence {
  /** What was done, for a failure's message. */
  readonly log: string[] = [];
  private readonly random: Random;
  private readonly ledger: Ledger;
  private readonly run: Run;
  private readonly naive: NaiveRun;
  private readonly versions: Versions;
  private readonly trainer: Trainer;
  private readonly streams: Streams;
  private readonly events: Events;
  private readonly sending: Sending;
  private readonly commands: Commands;
  /** What waits for the end of a fold. */
  private waits: Promise<void>[] = [];
  private failure: unknown;

  constructor(seed: number, mode: KernelMode) {
    const random = new Random(seed);
    this.random = random;
    const spec = sampleRun(random);
    const options = { pageBytesMax: 4_096, arenaBytesMax: 704 * 1_024, yieldElements: random.pick([64, 300, 100_000]) };
    const isTight = random.oneIn(3);
    const needed = isTight ? neededBytes(new Run(spec, new Ledger(UNBOUNDED_BYTES), mode, options)) + BOXES_BYTES : 0;
    this.ledger = new Ledger(isTight ? Math.floor(needed * (1 + random.below(150) / 100)) : UNBOUNDED_BYTES);
    this.run = new Run(spec, this.ledger, mode, options);
    this.naive = new NaiveRun(spec);
    this.versions = new Versions(this.run, this.naive, random, !isTight);
    this.trainer = new Trainer(this.run, this.naive, this.ledger, this.versions, random);
    this.streams = new Streams(this.trainer, random);
    this.events = new Events(this.run);
    this.sending = new Sending(this.trainer, this.streams, random, !isTight, (fold) => this.drive(fold), this.events);
    this.commands = new Commands(this.trainer, this.streams, this.sending, this.versions, random, this.log);
    this.log.push(`${isTight ? 'little memory, ' : ''}${JSON.stringify(spec)}`);
    this.note(`${this.trainer.generation.writerCount} writers`);
  }

  private note(what: string): void {
    this.log.push(what);
  }

  async play(): Promise<void> {
    for (let left = this.random.between(8, COMMAND_COUNT_MAX); left > 0; left--) {
      this.commands.any();
      await this.settle();
    }
    await this.finish();
  }

  /** Lets everything that is under way come to its end, and looks at all of it. */
  private async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all(this.waits.splice(0));
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure !== undefined) throw this.failure;
    this.sending.endConflict();
    this.trainer.follow();
    const [oldest] = this.trainer.generation.inFlight.flights;
    same(this.run.oldestStep, oldest?.script.step, 'oldest step');
    same(oldest?.whole.size === this.trainer.generation.writerCount, false, 'a whole step that is not decided');
    this.sending.calls.check();
    this.events.check();
    this.sending.checkBlocked();
    checkStates(this.trainer);
    this.versions.checkAll();
    checkMemory(this.trainer, this.versions, this.ledger);
  }

  /** The fold of a step, with everything that may happen between its slices. */
  private async drive(fold: Iterable<void>): Promise<void> {
    try {
      this.waitForEnd();
      for (const _ of fold) {
        if (!this.random.oneIn(3)) continue;
        for (let ticks = this.random.below(4); ticks > 0; ticks--) await Promise.resolve();
        this.betweenSlices();
      }
      this.waitForEnd();
    } catch (error) {
      this.failure ??= error;
      throw error;
    }
  }

  private betweenSlices(): void {
    const { random, sending, streams, versions } = this;
    if (sending.isConflicting || this.failure !== undefined) return;
    this.trainer.follow();
    const at = random.below(20);
    if (at < 12) this.note(`  meanwhile ${sending.send(this.commands.client())}`);
    else if (at < 14) this.note(`  meanwhile ${streams.leave(this.commands.client())}`);
    else if (at < 15) this.note(`  meanwhile ${sending.duplicate(this.commands.client())}`);
    else if (at < 16) this.note(`  meanwhile ${versions.release()}`);
    else if (at < 18) versions.checkHeld();
    else this.waitForEnd();
  }

  /** Something that comes some ticks from now, and waits for the end of the fold. */
  private waitForEnd(): void {
    const { random } = this;
    const ticks = random.below(14);
    const wait = async (): Promise<void> => {
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      await this.run.whenSettled(() => {
        if (this.sending.isConflicting || this.failure !== undefined) return;
        this.trainer.follow();
        this.note('  at the end of a fold:');
        if (random.oneIn(3)) this.note(this.versions.pin());
        else this.commands.fault();
      });
    };
    this.waits.push(wait());
  }

  /** Nothing is stuck; when all have gone, nothing is left. */
  private async finish(): Promise<void> {
    const { trainer, random, ledger, run } = this;
    const { generation } = trainer;
    const target = Math.max(...generation.clients.map(({ position }) => position)) + 1;
    const isBehind = (): boolean => generation.clients.some(({ position }) => position < target);
    for (let left = ROUND_COUNT_MAX; left > 0 && isBehind(); left--) {
      this.commands.round(true);
      await this.settle();
    }
    same(isBehind() && trainer.generation === generation && !generation.isStarved, false, 'a step that does not end');
    if (random.oneIn(2)) {
      while (this.versions.readers.length > 0) this.versions.release();
      this.commands.leaveAll();
      for (const client of trainer.generation.clients) this.note(this.streams.forget(client));
      await this.settle();
      same(run.memory.stagingBytes, 0, 'staging bytes when nobody writes');
    }
    checkReplay(run, this.naive.spec, (number) => this.trainer.wireDTypeOf(number), this.events.lineage);
    const held: Reader[] = this.versions.readers.map(({ engine }) => engine);
    run.delete();
    for (const { evicted } of held) same(evicted, 'DELETED', 'eviction');
    same(ledger.usedBytes, 0, 'bytes that the ledger counts after all');
  }
}

function sampleRun(random: Random): ListedSpec {
  const spec = sampleSpec(random, 'r', { shape: sampleShape, largeCountMax: LARGE_COUNT_MAX });
  const retain = random.oneIn(3) ? undefined : { everySteps: random.between(1, 3), countMax: random.between(1, 4) };
  return { ...spec, retain };
}
