import { alignedBytes, DTYPE_BYTES, ShadowkeepError } from '../../common/index.js';
import { addRun, type DigestValue, EMPTY_DIGEST, mergeDigests, sumRun, unitBytesOf } from '../fold/digest.js';
import type { FoldAhead } from '../fold/fold-ahead.js';
import { lastFrom } from '../fold/last-from.js';
import type { Piece } from '../fold/non-finite.js';
import type { Segments } from '../layout/segments.js';
import type { WirePlan } from '../layout/wire-plan.js';
import type { Page } from '../memory/page-pool.js';
import type { Part } from '../world/index.js';
import type { Findings } from './findings.js';

/** What the writers' commits say of a step; all say the same. */
export interface StepKind {
  readonly isInitial: boolean;
  readonly isSkipped: boolean;
}

/** Whose bytes a step is put together from: a writer, which has one part of it. */
export interface Contributor {
  readonly findings: Findings;
  readonly part: Part;
  /** How many bytes of its part of a step have arrived. */
  arrivedOf(step: number): number;
}

/**
 * A step that is being received: the bytes of all writers, each where it belongs in the byte space of the whole step. Nobody
 * sees it before it is whole, and without its commit it leaves no trace.
 */
export class StagedStep<Writer extends Contributor = Contributor> {
  readonly step: number;
  #pages: readonly Page[];
  /** Folds it as it arrives, where that is possible. */
  ahead: FoldAhead | undefined;
  /** Whose part has begun, and whose is whole. */
  readonly parts = new Set<Writer>();
  readonly whole = new Set<Writer>();
  /** Tensors that are not finite in the parts that are whole, and the first such element in words. */
  readonly nonFinite = new Set<number>();
  detail = '';
  /** Bytes of the parts that are still to be caught up. */
  readonly #arrived = new Map<Writer, number>();
  #digest = EMPTY_DIGEST;
  #kind: StepKind | undefined;
  /** Its byte space. */
  readonly plan: WirePlan;
  readonly #pageBytes: number;

  constructor(step: number, pages: readonly Page[], plan: WirePlan, pageBytes: number) {
    this.step = step;
    this.#pages = pages;
    this.plan = plan;
    this.#pageBytes = pageBytes;
  }

  /** What it is staged on: the pages of its byte space, one behind the other. */
  get pages(): readonly Page[] {
    return this.#pages;
  }

  /** It was committed, and its pages are the head's now: these are free in their place. */
  exchange(pages: readonly Page[]): void {
    this.#pages = pages;
  }

  get kind(): StepKind {
    return this.#kind ?? { isInitial: false, isSkipped: false };
  }

  get digest(): DigestValue {
    return this.#digest;
  }

  /** Zeroes what lies between tensors, for writers that do not send it: old bytes there would be measured with the fold. */
  clearGaps(): void {
    const { boxes } = this.plan;
    for (let index = 0; index < boxes.count; index++) {
      const { stepOffset, bytes } = boxes.at(index);
      const gapBytes = alignedBytes(bytes) - bytes;
      if (gapBytes === 0) continue;
      this.#forEachPiece(stepOffset + bytes, gapBytes, ({ page, address, length }) => {
        page.arena.bytes(address, length).fill(0);
      });
    }
  }

  /** Takes bytes of a writer. Those of COPY_ONCE tensors that the run has already lie behind the pages and are dropped. */
  write(stepOffset: number, data: Uint8Array, writer: Writer): void {
    this.#forEachPiece(stepOffset, data.length, (piece, at) => {
      const { page, address, length } = piece;
      page.arena.bytes(address, length).set(data.subarray(at, at + length));
      examine(this.plan.segments, piece, writer.findings);
      this.ahead?.fold(page, address, piece.stepOffset, length);
    });
  }

  /** Folds what has arrived before `ahead` began, in slices; what comes meanwhile is folded as it comes. */
  *catchUp(ahead: FoldAhead): Generator<void> {
    this.ahead = ahead;
    for (const writer of this.parts) this.#arrived.set(writer, writer.arrivedOf(this.step));
    for (const [writer, bytes] of this.#arrived) {
      for (const { stepOffset, length } of writer.part.runs(bytes)) {
        for (let done = 0; done < length; done += this.#pageBytes) {
          if (!this.#arrived.has(writer)) break;
          this.#forEachPiece(stepOffset + done, Math.min(this.#pageBytes, length - done), (piece) => {
            ahead.fold(piece.page, piece.address, piece.stepOffset, piece.length);
          });
          yield;
        }
      }
    }
  }

  /** What has come of a writer's part counts no more: it comes again, and is folded as it comes. */
  forget(writer: Writer): void {
    this.#arrived.delete(writer);
  }

  /** Throws STEP_MISMATCH when a writer says something else of the step than those before. */
  checkKind(kind: StepKind, writer: number): void {
    const ours = this.#kind ?? kind;
    if (ours.isInitial === kind.isInitial && ours.isSkipped === kind.isSkipped) return;
    const word = ({ isInitial, isSkipped }: StepKind) => (isSkipped ? 'skipped' : isInitial ? 'initial' : 'an update');
    throw new ShadowkeepError(
      'STEP_MISMATCH',
      `step ${this.step} is ${word(kind)} to writer ${writer}, ${word(ours)} to the others`,
      { metadata: { step: this.step, writer } },
    );
  }

  /** A writer's part is whole. */
  finish(writer: Writer, kind: StepKind): void {
    this.#kind = kind;
    this.parts.add(writer);
    this.whole.add(writer);
    const { nonFinite, digest } = writer.findings;
    for (const tensor of nonFinite.found) this.nonFinite.add(tensor);
    if (this.detail === '') this.detail = nonFinite.detail;
    this.#digest = mergeDigests(this.#digest, digest);
  }

  #forEachPiece(stepOffset: number, length: number, visit: (piece: Piece, at: number) => void): void {
    const pageBytes = this.#pageBytes;
    const staged = Math.min(length, this.#pages.length * pageBytes - stepOffset);
    for (let done = 0; done < staged; ) {
      const offset = stepOffset + done;
      const page = this.#pages[Math.floor(offset / pageBytes)]!;
      const within = offset % pageBytes;
      const part = Math.min(staged - done, pageBytes - within);
      visit({ page, address: page.address + within, stepOffset: offset, length: part }, done);
      done += part;
    }
  }
}

/** Looks at a piece while it is in the cache, segment by segment. */
export function examine(segments: Segments, piece: Piece, findings: Findings): void {
  const end = piece.stepOffset + piece.length;
  for (
    let index = lastFrom(segments.length, (at) => segments.stepOffsetAt(at), piece.stepOffset);
    index < segments.length;
    index++
  ) {
    const { stepOffset, count, dtype } = segments.at(index);
    if (stepOffset >= end) return;
    const from = Math.max(stepOffset, piece.stepOffset);
    const to = Math.min(stepOffset + count * (dtype === undefined ? 1 : DTYPE_BYTES[dtype]), end);
    if (to <= from) continue;
    const part = {
      page: piece.page,
      address: piece.address + from - piece.stepOffset,
      stepOffset: from,
      length: to - from,
    };
    if (dtype !== undefined) findings.nonFinite.scan(part, dtype);
    const unitBytes = dtype === undefined ? 1 : unitBytesOf(dtype);
    const units = part.length / unitBytes;
    const sums = sumRun(part.page.arena, unitBytes, part.address, units);
    findings.digest = addRun(findings.digest, sums, from / unitBytes, units);
  }
}
