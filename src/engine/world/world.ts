import { assert, type FloatDType, quote, ShadowkeepError } from '../../common/index.js';
import type { Layout } from '../layout.js';
import type { Ledger } from '../ledger.js';
import { planWire, type WirePlan } from '../wire-plan.js';
import { BoxList } from './box-list.js';
import { Coverage } from './coverage.js';
import { Part } from './part.js';
import { Replicas } from './replicas.js';

/** What one writer has declared. */
interface Declaration {
  /** Of its boxes, which are not kept once their part is known; undefined: the whole layout. */
  readonly fingerprint: string | undefined;
  boxes: BoxList | undefined;
  /** Undefined until it is known which boxes of replica groups it sends. */
  part: Part | undefined;
  leftOut: readonly number[];
}

/** Boxes with nothing in them. */
const NO_BOXES = BoxList.of([]);

/** Nobody leaves anything to others. */
const NONE: ReadonlyMap<number, ReadonlySet<number>> = new Map();

/**
 * The writers of one generation, and which part of a step each of them sends: declared one by one, and proved to be a
 * whole when the last of them has.
 */
export class World {
  readonly writerCount: number;
  readonly #run: string;
  readonly #layout: Layout;
  readonly #ledger: Ledger;
  readonly #declarations = new Map<number, Declaration>();
  #coverage: Coverage;
  /** Writers whose boxes are in it. */
  readonly #covered = new Set<number>();
  #replicas: Replicas;
  #plan: WirePlan | undefined;
  #isProved = false;
  #reservedBytes = 0;

  constructor(run: string, layout: Layout, writerCount: number, ledger: Ledger) {
    this.writerCount = writerCount;
    this.#run = run;
    this.#layout = layout;
    this.#ledger = ledger;
    this.#coverage = new Coverage(layout.tensors);
    this.#replicas = new Replicas(layout.tensors);
  }

  /** The byte space of a whole step. */
  get plan(): WirePlan {
    assert(this.#plan !== undefined, 'somebody has declared');
    return this.#plan;
  }

  /** Whether all writers have declared, and their boxes are a whole. */
  get isProved(): boolean {
    return this.#isProved;
  }

  /** Whether the only writer sends the byte space of the step as it is. */
  get sendsGaps(): boolean {
    const first = this.#declarations.get(0);
    return this.writerCount === 1 && first !== undefined && first.fingerprint === undefined;
  }

  /** Whether all writers have declared. */
  get isComplete(): boolean {
    return this.#declarations.size === this.writerCount;
  }

  /** Who has not declared. */
  get missing(): number[] {
    return Array.from({ length: this.writerCount }, (_, writer) => writer).filter((w) => !this.#declarations.has(w));
  }

  /**
   * Takes what a writer declares, or finds it the same as before. `boxes` undefined: the whole layout of a single writer,
   * nothing of one among several. Throws WRITERS_MISMATCH, BOXES_CHANGED, MEMORY_EXHAUSTED.
   */
  declare(writer: number, boxes: BoxList | undefined, wireDType: FloatDType | undefined): void {
    const isFirst = this.#declarations.size === 0;
    if (!isFirst && wireDType !== this.plan.wireDType) throw this.#otherDType(writer, wireDType);
    const declared = boxes ?? (this.writerCount === 1 ? undefined : NO_BOXES);
    const fingerprint = declared?.fingerprint;
    const before = this.#declarations.get(writer);
    if (before !== undefined) {
      if (before.fingerprint !== fingerprint) throw this.#otherBoxes(writer);
      return;
    }
    if (isFirst && (this.#plan === undefined || this.#plan.wireDType !== wireDType)) {
      this.#plan = planWire(this.#layout, wireDType);
    }
    // Before it is known to be whole: that of thousands of writers at once would take seconds.
    const part = declared?.hasReplicas === true ? undefined : this.#partOf(declared, undefined);
    this.#reserve(declared === undefined ? 0 : declared.bytes + (part?.bytes ?? 0));
    this.#declarations.set(writer, { fingerprint, boxes: declared, part, leftOut: [] });
    this.#coverNext();
  }

  /** A writer that goes before all have come takes its boxes along. */
  withdraw(writer: number): void {
    const declaration = this.#declarations.get(writer);
    if (declaration === undefined || this.#isProved) return;
    this.#declarations.delete(writer);
    const { boxes } = declaration;
    if (boxes === undefined) return;
    if (this.#covered.delete(writer)) {
      for (let index = 0; index < boxes.count; index++) {
        const isShared = boxes.replicaGroup[index] !== 0 && this.#replicas.leave(boxes, index, writer);
        if (!isShared) this.#coverage.add(boxes, index, -1);
      }
    }
    this.#release(boxes.bytes + (declaration.part?.bytes ?? 0));
  }

  /** When all have declared: plans who sends what. Throws BOX_GAP or BOX_OVERLAP, after which nobody has declared. */
  prove(): void {
    assert(this.isComplete, 'all writers have declared');
    if (this.#declarations.get(0)?.boxes !== undefined) this.#checkCoverage();
    const leftOut = this.#replicas.isEmpty ? NONE : this.#replicas.leftOut(this.#ownElements());
    for (const [writer, declaration] of this.#declarations) {
      const { boxes } = declaration;
      const left = leftOut.get(writer);
      declaration.leftOut = [...(left ?? [])].sort((a, b) => a - b);
      if (declaration.part === undefined) {
        declaration.part = this.#partOf(boxes, left);
        this.#reserve(declaration.part.bytes);
      }
      declaration.boxes = undefined;
      this.#release(boxes?.bytes ?? 0);
    }
    this.#isProved = true;
  }

  /** What a writer sends, and which of its boxes others send. */
  partOf(writer: number): { readonly part: Part; readonly leftOut: readonly number[] } {
    const declaration = this.#declarations.get(writer);
    assert(declaration?.part !== undefined, 'the world is proved');
    return { part: declaration.part, leftOut: declaration.leftOut };
  }

  /** Forgets everything that was declared. */
  reset(): void {
    this.#declarations.clear();
    this.#covered.clear();
    this.#coverage = new Coverage(this.#layout.tensors);
    this.#replicas = new Replicas(this.#layout.tensors);
    this.#isProved = false;
    this.#release(this.#reservedBytes);
  }

  #partOf(boxes: BoxList | undefined, left: ReadonlySet<number> | undefined): Part {
    if (boxes === undefined) return Part.whole(this.plan);
    return Part.of(boxes, this.plan, this.#layout.tensors, (index) => left?.has(index) !== true);
  }

  /** Covers what was declared, in the order of the writers' numbers: that is mostly the order of their boxes. */
  #coverNext(): void {
    for (let writer = 0; writer < this.writerCount; writer++) {
      if (this.#covered.has(writer)) continue;
      const declaration = this.#declarations.get(writer);
      if (declaration === undefined) return;
      this.#covered.add(writer);
      if (declaration.boxes !== undefined) this.#cover(writer, declaration.boxes);
    }
  }

  #cover(writer: number, boxes: BoxList): void {
    for (let index = 0; index < boxes.count; index++) {
      const isShared = boxes.replicaGroup[index] !== 0 && this.#replicas.join(boxes, index, writer);
      if (!isShared) this.#coverage.add(boxes, index, 1);
    }
  }

  /** Elements that each writer sends because nobody else has them. */
  #ownElements(): number[] {
    const own = new Array<number>(this.writerCount).fill(0);
    for (const [writer, { boxes }] of this.#declarations) {
      if (boxes === undefined) continue;
      for (let index = 0; index < boxes.count; index++) {
        if (boxes.replicaGroup[index] === 0)
          own[writer]! += boxes.elements(index, this.#layout.tensors[boxes.tensor[index]!]!);
      }
    }
    return own;
  }

  #checkCoverage(): void {
    const { fault } = this.#coverage;
    if (fault === undefined) return;
    const { tensor, element, boxCount } = fault;
    this.reset();
    const where = `element [${element}] of tensor ${quote(tensor.name)} of shape [${tensor.shape}]`;
    const how = boxCount === 0 ? 'is in no box' : `is in ${boxCount} boxes`;
    throw new ShadowkeepError(
      boxCount === 0 ? 'BOX_GAP' : 'BOX_OVERLAP',
      `run ${quote(this.#run)}: ${where} ${how} of its ${this.writerCount} writers`,
      { metadata: { tensor: tensor.name, element: element.join(), boxCount } },
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
    const [ours, theirs] = [this.plan.wireDType, wireDType].map((dtype) => dtype ?? "the layout's dtypes");
    return new ShadowkeepError(
      'WRITERS_MISMATCH',
      `writer ${writer} of run ${quote(this.#run)} sends ${theirs}, the others ${ours}`,
      { metadata: { writer } },
    );
  }

  #reserve(bytes: number): void {
    this.#ledger.reserve(bytes, `boxes of run ${quote(this.#run)}`);
    this.#reservedBytes += bytes;
  }

  #release(bytes: number): void {
    this.#ledger.release(bytes);
    this.#reservedBytes -= bytes;
  }
}
