import { assert, type FloatDType, quote, ShadowkeepError } from '../../common/index.js';
import type { Layout } from '../layout/layout.js';
import { planningWire, type WirePlan } from '../layout/wire-plan.js';
import type { Ledger } from '../memory/ledger.js';
import { BoxList } from './box-list.js';
import { Coverage, type Fault } from './coverage.js';
import { Part } from './part.js';
import { Replicas } from './replicas.js';

/** The declaration of one writer. */
interface Declaration {
  /**
   * Shows whether the writer declares the same boxes again, which are not kept once its part is known. Undefined stands
   * for the whole layout.
   */
  readonly fingerprint: string | undefined;
  readonly boxes: BoxList | undefined;
}

/** The part that a writer sends, and those of its boxes, by index, that other writers send. */
export interface WriterPart {
  readonly part: Part;
  readonly leftOut: readonly number[];
}

/** The result of the proof. */
interface Proof {
  readonly plan: WirePlan;
  /** The part of each writer, by its number. */
  readonly parts: readonly WriterPart[];
  /** Memory of the parts, bytes. The part of a whole layout takes next to nothing and counts as 0. */
  readonly partBytes: number;
}

/** Stands for the boxes of a writer that sends nothing. */
const NO_BOXES = BoxList.of([]);

/** Boxes, or look-ups for them, between two yields: under a millisecond. */
const SLICE_WORK = 4_096;

/**
 * Knows which part of a step each writer of a generation sends. The writers declare their boxes one by one. When the last
 * one has, the boxes are proved to tile every tensor.
 */
export class World {
  readonly writerCount: number;
  readonly #run: string;
  readonly #layout: Layout;
  readonly #ledger: Ledger;
  readonly #declarations = new Map<number, Declaration>();
  #wireDType: FloatDType | undefined;
  #proof: Proof | undefined;
  #reservedBytes = 0;
  /** Counts the changes of what is to be proved, so that a proof that is under way notices them. */
  #changes = 0;

  constructor(run: string, layout: Layout, writerCount: number, ledger: Ledger) {
    this.writerCount = writerCount;
    this.#run = run;
    this.#layout = layout;
    this.#ledger = ledger;
  }

  /** Whether all writers have declared their boxes, and these were proved to tile every tensor. */
  get isProved(): boolean {
    return this.#proof !== undefined;
  }

  /** The byte space of a whole step. Only when the world is proved. */
  get plan(): WirePlan {
    return this.#proved.plan;
  }

  /** Whether the only writer sends the byte space of the step as it is, with the gaps between tensors. */
  get sendsGaps(): boolean {
    const first = this.#declarations.get(0);
    return this.writerCount === 1 && first !== undefined && first.fingerprint === undefined;
  }

  /** Whether all writers have declared their boxes. */
  get isComplete(): boolean {
    return this.#declarations.size === this.writerCount;
  }

  /** The numbers of the writers that have not declared their boxes. */
  get missing(): number[] {
    return Array.from({ length: this.writerCount }, (_, writer) => writer).filter((w) => !this.#declarations.has(w));
  }

  /**
   * Takes the declaration of a writer, or checks that it is the same as before. Without `boxes` a single writer sends the
   * whole layout, and one of several writers sends nothing. Throws WRITERS_MISMATCH, BOXES_CHANGED, MEMORY_EXHAUSTED.
   */
  declare(writer: number, boxes: BoxList | undefined, wireDType: FloatDType | undefined): void {
    const isFirst = this.#declarations.size === 0;
    if (!isFirst && wireDType !== this.#wireDType) throw this.#otherDType(writer, wireDType);
    const declared = boxes ?? (this.writerCount === 1 ? undefined : NO_BOXES);
    const fingerprint = declared?.fingerprint;
    const before = this.#declarations.get(writer);
    if (before !== undefined) {
      if (before.fingerprint !== fingerprint) throw this.#otherBoxes(writer);
      return;
    }
    this.#reserve(declared?.bytes ?? 0);
    this.#wireDType = wireDType;
    this.#declarations.set(writer, { fingerprint, boxes: declared });
    this.#changes += 1;
  }

  /** Forgets the boxes of a writer that goes before all writers have declared theirs. */
  withdraw(writer: number): void {
    const declaration = this.#declarations.get(writer);
    if (declaration === undefined || this.isProved) return;
    this.#declarations.delete(writer);
    this.#changes += 1;
    this.#release(declaration.boxes?.bytes ?? 0);
  }

  /**
   * Proves, when all writers have declared, that their boxes tile every tensor, and plans which writer sends what. Yields
   * between slices, and changes nothing before the last one. Returns false when the declarations have changed meanwhile.
   * Throws BOX_GAP or BOX_OVERLAP, after which no writer has declared, MEMORY_EXHAUSTED, and what `onProved` throws to
   * prevent the result.
   */
  *proving(onProved: (plan: WirePlan) => void = () => undefined): Generator<void, boolean> {
    assert(this.isComplete, 'all writers have declared');
    const changes = this.#changes;
    let takenBytes = 0;
    const take = (bytes: number): void => {
      this.#ledger.reserve(bytes, this.#what);
      takenBytes += bytes;
    };
    try {
      const work = this.#prove(take);
      for (;;) {
        const { done, value } = work.next();
        if (done !== true) {
          yield;
          if (this.#changes !== changes) return false;
          continue;
        }
        onProved(value.plan);
        takenBytes -= this.#accept(value);
        return true;
      }
    } finally {
      this.#ledger.release(takenBytes);
    }
  }

  /** The part that a writer sends, and those of its boxes, by index, that other writers send. */
  partOf(writer: number): WriterPart {
    return this.#proved.parts[writer]!;
  }

  /** Forgets all declarations and the proof. */
  reset(): void {
    this.#declarations.clear();
    this.#proof = undefined;
    this.#changes += 1;
    this.#release(this.#reservedBytes);
  }

  get #proved(): Proof {
    assert(this.#proof !== undefined, 'the world is proved');
    return this.#proof;
  }

  /**
   * Keeps the parts, whose memory is reserved, and of the boxes only their fingerprints. Returns the bytes that stay
   * reserved.
   */
  #accept(proof: Proof): number {
    for (const [writer, { fingerprint }] of this.#declarations) {
      this.#declarations.set(writer, { fingerprint, boxes: undefined });
    }
    this.#release(this.#reservedBytes);
    this.#reservedBytes = proof.partBytes;
    this.#proof = proof;
    this.#changes += 1;
    return this.#reservedBytes;
  }

  /** `take` reserves the memory that the proof needs. */
  *#prove(take: (bytes: number) => void): Generator<void, Proof> {
    const plan = yield* planningWire(this.#layout, this.#wireDType);
    if (this.sendsGaps) {
      return { plan, parts: [{ part: yield* Part.whole(plan), leftOut: [] }], partBytes: 0 };
    }
    const lists = Array.from({ length: this.writerCount }, (_, writer) => {
      return this.#declarations.get(writer)?.boxes ?? NO_BOXES;
    });
    const left = yield* this.#cover(lists, take);
    const parts: WriterPart[] = [];
    let partBytes = 0;
    for (const [writer, boxes] of lists.entries()) {
      const leaves = left?.[writer];
      const part = yield* Part.of(boxes, plan, (index) => leaves?.[index] !== 1);
      take(part.bytes);
      partBytes += part.bytes;
      parts.push({ part, leftOut: leaves === undefined ? [] : yield* indicesOf(leaves) });
    }
    return { plan, parts, partBytes };
  }

  /**
   * Proves that boxes tile the tensors. Returns for each writer, by its number, which of its boxes it leaves to others.
   */
  *#cover(lists: readonly BoxList[], take: (bytes: number) => void): Generator<void, Uint8Array[] | undefined> {
    const { tensors } = this.#layout;
    let sharedCount = 0;
    for (const boxes of lists) sharedCount += yield* boxes.countShared();
    take(Replicas.bytesOf(sharedCount));
    const replicas = new Replicas(tensors, lists, sharedCount);
    const coverage = new Coverage(tensors, take);
    const sent = new Array<number>(lists.length).fill(0);
    let until = SLICE_WORK;
    // The writers come in the order of their numbers, which is mostly the order of their boxes.
    for (const [writer, boxes] of lists.entries()) {
      for (let index = 0; index < boxes.count; index++) {
        if (coverage.work + replicas.work >= until) {
          yield;
          until = coverage.work + replicas.work + SLICE_WORK;
        }
        if (!coverage.hasRoom) yield* coverage.makeRoom();
        if (boxes.replicaGroup[index] === 0)
          sent[writer]! += boxes.elements(index, tensors.shapeOf(boxes.tensor[index]!));
        else if (replicas.join(writer, index)) continue;
        coverage.add(boxes, index);
      }
    }
    const fault = yield* coverage.fault();
    if (fault !== undefined) throw this.#faultError(fault);
    return sharedCount === 0 ? undefined : yield* replicas.leftOut(sent);
  }

  #faultError({ tensor, element, boxCount }: Fault): ShadowkeepError {
    this.reset();
    const { tensors } = this.#layout;
    const name = tensors.nameOf(tensor);
    const where = `element [${element}] of tensor ${quote(name)} of shape [${tensors.shapeOf(tensor)}]`;
    const how = boxCount === 0 ? 'is in no box' : `is in ${boxCount} boxes`;
    return new ShadowkeepError(
      boxCount === 0 ? 'BOX_GAP' : 'BOX_OVERLAP',
      `run ${quote(this.#run)}: ${where} ${how} of its ${this.writerCount} writers`,
      { metadata: { tensor: name, element: element.join(), boxCount } },
    );
  }

  #otherBoxes(writer: number): ShadowkeepError {
    return new ShadowkeepError(
      'BOXES_CHANGED',
      `writer ${writer} of run ${quote(this.#run)} declares other boxes than before in this generation: another sharding ` +
        'needs a new incarnation',
      { metadata: { writer } },
    );
  }

  #otherDType(writer: number, wireDType: FloatDType | undefined): ShadowkeepError {
    const [ours, theirs] = [this.#wireDType, wireDType].map((dtype) => dtype ?? "the layout's dtypes");
    return new ShadowkeepError(
      'WRITERS_MISMATCH',
      `writer ${writer} of run ${quote(this.#run)} sends ${theirs}, the others ${ours}`,
      { metadata: { writer } },
    );
  }

  get #what(): string {
    return `boxes of run ${quote(this.#run)}`;
  }

  #reserve(bytes: number): void {
    this.#ledger.reserve(bytes, this.#what);
    this.#reservedBytes += bytes;
  }

  #release(bytes: number): void {
    this.#ledger.release(bytes);
    this.#reservedBytes -= bytes;
  }
}

/** Returns the indices of the marks that are 1. Yields between slices. */
function* indicesOf(marks: Uint8Array): Generator<void, number[]> {
  const indices: number[] = [];
  for (let index = 0; index < marks.length; index++) {
    if (marks[index] === 1) indices.push(index);
    if (index % SLICE_WORK === SLICE_WORK - 1) yield;
  }
  return indices;
}
