import type { ErrorReason, FloatDType } from '../../../src/common/index.js';
import { BoxList, type CommitOutcome, type Run, type WriterStream } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import { attach, drive, planWire } from '../fixtures.js';
import { box, partOf, type Random, randomTiling, targetsOf } from '../world/naive.js';

export interface TeamOptions {
  readonly incarnation?: string;
  readonly wireDType?: FloatDType;
}

/** The writers of a new generation of a run, each with its stream. */
export class Team {
  readonly run: Run;
  readonly writers: WriterStream[];
  /** Who was ended from outside, and why. */
  readonly failures: [writer: number, reason: ErrorReason][] = [];
  readonly #lists: readonly (readonly Box[])[];
  readonly #wireDType: FloatDType | undefined;
  /** By writer: where each byte that it sends belongs. */
  readonly #targets: readonly (readonly number[])[];

  constructor(run: Run, lists: readonly (readonly Box[])[], { incarnation = 'team', wireDType }: TeamOptions = {}) {
    this.run = run;
    this.#lists = lists;
    this.#wireDType = wireDType;
    const plan = planWire(run.layout, wireDType);
    this.#targets = lists.map((boxes) => targetsOf(boxes, plan).targets);
    attach(run, incarnation, { writers: lists.length });
    this.writers = lists.map((_, writer) => this.#open(writer, false));
  }

  /** Opens a writer's stream once more. */
  reopen(writer: number, takeover = false): WriterStream {
    const stream = this.#open(writer, takeover);
    this.writers[writer] = stream;
    return stream;
  }

  /** Sends a writer's part of a step, or some bytes of it. */
  send(writer: number, step: number, whole: Uint8Array, from = 0, to = Number.POSITIVE_INFINITY): void {
    const bytes = partOf(whole, this.#targets[writer]!.slice(from, to));
    if (bytes.length > 0) this.writers[writer]!.stage(step, from, bytes);
  }

  async commit(writer: number, step: number, kind: { isInitial?: boolean; isSkipped?: boolean } = {}, run = drive) {
    const stream = this.writers[writer]!;
    const bytes = stream.receivedBytes;
    return await stream.commit({ step, bytes, isInitial: false, isSkipped: false, ...kind }, run);
  }

  /** Sends a part and commits it. */
  async push(writer: number, step: number, whole: Uint8Array): Promise<CommitOutcome> {
    this.send(writer, step, whole);
    return await this.commit(writer, step);
  }

  /** All send a step, one after another; what each is told. */
  async pushAll(step: number, whole: Uint8Array): Promise<string[]> {
    const outcomes = await Promise.all(this.writers.map((_, writer) => this.push(writer, step, whole)));
    return outcomes.map(({ state }) => state);
  }

  #open(writer: number, takeover: boolean): WriterStream {
    const boxes = BoxList.of(this.#lists[writer]!);
    const request = {
      generation: this.run.generation,
      writer,
      boxes,
      wireDType: this.#wireDType,
      takeover,
      session: '',
    };
    return this.run.openWriter(request, ({ reason }) => this.failures.push([writer, reason]));
  }
}

/** Each tensor of a run cut at random, the pieces dealt out at random. */
export function randomShards({ layout }: Run, writerCount: number, random: Random): Box[][] {
  const lists: Box[][] = Array.from({ length: writerCount }, () => []);
  for (const [tensor, { shape, policy }] of [...layout.tensors].entries()) {
    if (policy === 'IGNORE') continue;
    for (const piece of randomTiling(shape, random)) {
      lists[random() % writerCount]!.push(box([], [], { ...piece, tensor }));
    }
  }
  return lists;
}

/** The rows of one tensor of two dimensions, dealt out evenly in order. */
export function rowShards([rows, columns]: readonly [number, number], writerCount: number): Box[][] {
  const count = rows / writerCount;
  return Array.from({ length: writerCount }, (_, writer) => [box([writer * count, 0], [count, columns])]);
}
