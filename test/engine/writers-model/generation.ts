import { FLOAT_DTYPES, type FloatDType, type ShadowkeepError } from '../../../src/common/index.js';
import { BoxList, type WriterRequest, type WriterStream } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import type { NaiveRun } from '../model/naive-run.js';
import type { Random } from '../model/random.js';
import { sampleStep } from '../model/samples.js';
import { InFlight } from './in-flight.js';
import type { ScriptStep } from './steps.js';
import { bytesOf, dealBoxes, type NaivePart, partOf, spoilBoxes } from './worlds.js';

/** One of the trainer's processes. */
export class Client {
  /** Open, or waiting for the others. */
  stream: WriterStream | undefined;
  /** One that has ended, while the run keeps what came on it. */
  left: WriterStream | undefined;
  failures: ShadowkeepError[] = [];
  /** Known once all have declared. */
  part: NaivePart | undefined;
  /** Its stream is new and has sent nothing: it may begin its step again. */
  isNew = false;
  /** The next step of the script that it sends. */
  position = 0;
  sending: { readonly script: ScriptStep; readonly bytes: Buffer } | undefined;

  constructor(
    readonly number: number,
    /** Undefined: it declares none. */
    public boxes: readonly Box[] | undefined,
  ) {}

  get isReady(): boolean {
    return this.stream?.isReady === true;
  }

  /** The run keeps something for it. */
  get isHeld(): boolean {
    return this.stream !== undefined || this.left !== undefined;
  }

  get list(): BoxList | undefined {
    return this.boxes && BoxList.of(this.boxes);
  }
}

/** A life of the trainer: how it shards its weights, and what it sends. */
export class Generation {
  readonly clients: readonly Client[];
  readonly wireDType: FloatDType | undefined;
  inFlight: InFlight;
  /** All writers have declared. */
  isBegun = false;
  /** There was no memory for the last of them. */
  isStarved = false;
  private readonly script: ScriptStep[] = [];
  /** Of steps that are yet to be made, by their position. */
  private readonly steps = new Map<number, number>();
  /** Boxes that tile every tensor; undefined: the only writer declares none. */
  private readonly dealt: readonly (readonly Box[])[] | undefined;

  constructor(
    readonly number: number,
    readonly incarnation: string,
    readonly writerCount: number,
    private readonly naive: NaiveRun,
    private readonly random: Random,
  ) {
    this.wireDType = random.oneIn(3) ? random.pick(FLOAT_DTYPES) : undefined;
    const isWhole = writerCount === 1 && random.oneIn(2);
    this.dealt = isWhole ? undefined : dealBoxes(random, naive.spec.tensors, writerCount);
    const declared = this.dealt && random.oneIn(6) ? spoilBoxes(random, this.dealt) : this.dealt;
    this.clients = Array.from({ length: writerCount }, (_, number) => new Client(number, declared?.[number]));
    this.inFlight = new InFlight(writerCount, naive);
    this.replayBefore();
  }

  /** The trainer has learned that its boxes were wrong. */
  heal(): void {
    for (const client of this.clients) {
      const boxes = this.dealt?.[client.number];
      const isNone = boxes?.length === 0 && this.writerCount > 1 && this.random.oneIn(2);
      client.boxes = isNone ? undefined : boxes;
    }
  }

  /** A trainer that has restored an older checkpoint sends some steps again, now and then other ones. */
  private replayBefore(): void {
    const { random } = this;
    const committed = this.naive.head.step;
    if (committed === undefined || !random.oneIn(2)) return;
    for (let step = committed - random.below(4); step <= committed; step++) {
      if (step >= 0) this.script.push(this.replayOf(step));
    }
  }

  /** A step that is decided, as it was or with another part of one writer. */
  replayOf(step: number): ScriptStep {
    const { random, wireDType, naive } = this;
    const space = naive.sent(step, wireDType) ?? sampleStep(random, naive.spec, wireDType, true);
    const altered = random.oneIn(3) ? random.below(this.writerCount) : undefined;
    return { step, space, wireDType, isInitial: random.oneIn(4), isSkipped: false, altered };
  }

  requestOf(client: Client, takeover: boolean): WriterRequest {
    const { number: generation, wireDType } = this;
    return { generation, writer: client.number, boxes: client.list, wireDType, takeover, session: '' };
  }

  /** The number of the step that a client sends next. */
  stepAt(position: number): number {
    const known = this.script[position]?.step ?? this.steps.get(position);
    if (known !== undefined) return known;
    const last = this.script.at(-1)?.step ?? this.naive.head.step ?? 0;
    // Steps rise, not always by one.
    const step = Math.max(last, this.naive.head.step ?? 0) + (this.random.oneIn(5) ? 2 : 1);
    this.steps.set(position, step);
    return step;
  }

  /** What it sends then: made when the first client may begin it, so that its kind is the right one. */
  scriptAt(position: number): ScriptStep {
    const { random, naive, wireDType } = this;
    const step = this.stepAt(position);
    const isFirst = naive.head.step === undefined;
    const needsInitial = isFirst && naive.spec.averages.some(({ start }) => start === 'INITIAL');
    const isInitial = needsInitial || (isFirst && random.oneIn(2));
    const isSkipped = random.oneIn(10);
    this.script[position] ??= {
      step,
      space: sampleStep(random, naive.spec, wireDType, true, 20),
      wireDType,
      isInitial: isInitial && !isSkipped,
      isSkipped,
      altered: undefined,
    };
    return this.script[position];
  }

  /** What a client sends of a step. */
  bytesFor(client: Client, script: ScriptStep): Buffer {
    const part = client.part!;
    const withOnce = this.naive.head.step === undefined || this.random.oneIn(2);
    const bytes = bytesOf(part, script.space, withOnce);
    if (script.altered === client.number) alter(bytes, part);
    return bytes;
  }

  /** All have declared, and who sends what is known. */
  begin(): void {
    this.isBegun = true;
    this.isStarved = false;
    this.inFlight = new InFlight(this.writerCount, this.naive);
    for (const client of this.clients) {
      const leftOut = new Set(client.stream!.leftOut);
      const isWhole = this.writerCount === 1 && client.boxes === undefined;
      const boxes = isWhole ? undefined : (client.boxes ?? []).filter((_, index) => !leftOut.has(index));
      client.part = partOf(this.naive.spec, this.wireDType, boxes);
    }
  }

  /** Nobody is left: all go on where the first of them was interrupted. */
  closeIfLeft(): void {
    if (this.clients.some(({ isHeld }) => isHeld)) return;
    const [interrupted] = this.inFlight.flights;
    const furthest = Math.max(...this.clients.map(({ position }) => position));
    const position = interrupted === undefined ? furthest : this.script.indexOf(interrupted.script);
    this.inFlight.abandon();
    for (const client of this.clients) {
      client.position = position;
      client.sending = undefined;
      client.part = undefined;
    }
    this.inFlight = new InFlight(this.writerCount, this.naive);
    this.isBegun = false;
  }
}

/** Changes one bit of a tensor that is sent in each step. */
function alter(bytes: Buffer, { sources, stepBytes }: NaivePart): void {
  const at = sources.findIndex((source, index) => source >= 0 && index < stepBytes);
  if (at >= 0) bytes[at]! ^= 1;
}
