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

/** What the writers' commits say of a step. All writers of a step must say the same. */
export interface StepKind {
  readonly isInitial: boolean;
  readonly isSkipped: boolean;
}

/** A writer, as far as a step needs it: it sends one part of the step. */
export interface Contributor {
  readonly findings: Findings;
  readonly part: Part;
  /** Number of bytes that have arrived of the writer's part of a step. */
  arrivedOf(step: number): number;
}

/**
 * A step that is being received. It holds the bytes of all writers, each at its place in the byte space of the whole
 * step. Nobody sees the step before it is whole, and a step that is not committed leaves no trace.
 */
export class StagedStep<Writer extends Contributor = Contributor> {
  readonly step: number;
  #pages: readonly Page[];
  /** Folds the step as it arrives; undefined where that is not possible. */
  ahead: FoldAhead | undefined;
  /** The writers whose part has begun, and those whose part is whole. */
  readonly parts = new Set<Writer>();
  readonly whole = new Set<Writer>();
  /** Tensors, by index, with an infinity or NaN in the whole parts; and in words the first such element. */
  readonly nonFinite = new Set<number>();
  detail = '';
  /** For each writer whose part is still to be caught up: the bytes that had arrived when that began. */
  readonly #arrived = new Map<Writer, number>();
  #digest = EMPTY_DIGEST;
  #kind: StepKind | undefined;
  /** The byte space of the step. */
  readonly plan: WirePlan;
  readonly #pageBytes: number;

  constructor(step: number, pages: readonly Page[], plan: WirePlan, pageBytes: number) {
    this.step = step;
    this.#pages = pages;
    this.plan = plan;
    this.#pageBytes = pageBytes;
  }

  /** The pages that hold the byte space of the step, in order. */
  get pages(): readonly Page[] {
    return this.#pages;
  }

  /** Says that the step was committed and its pages became the head's. `pages` are free staging pages in their place. */
  exchange(pages: readonly Page[]): void {
    this.#pages = pages;
  }

  get kind(): StepKind {
    return this.#kind ?? { isInitial: false, isSkipped: false };
  }

  get digest(): DigestValue {
    return this.#digest;
  }

  /**
   * Zeroes the gaps between tensors when no writer sends them. Old bytes there would be folded and measured with the
   * tensors.
   */
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

  /**
   * Writes bytes of a writer to their place. Bytes of COPY_ONCE tensors that the run has already lie behind the last page
   * and are dropped.
   */
  write(stepOffset: number, data: Uint8Array, writer: Writer): void {
    this.#forEachPiece(stepOffset, data.length, (piece, at) => {
      const { page, address, length } = piece;
      page.arena.bytes(address, length).set(data.subarray(at, at + length));
      examine(this.plan.segments, piece, writer.findings);
      this.ahead?.fold(page, address, piece.stepOffset, length);
    });
  }

  /**
   * Folds, in slices, the bytes that had arrived before `ahead` began. Bytes that come in between are folded as they
   * come.
   */
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

  /** Forgets what has come of a writer's part: the part comes again, and is folded as it comes. */
  forget(writer: Writer): void {
    this.#arrived.delete(writer);
  }

  /** Throws STEP_MISMATCH when a writer says something else of the step than the writers before it. */
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

  /** Says that a writer's part is whole. */
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

/**
 * Looks for infinities and NaN in a piece, and adds it to the digest, segment by segment, while the piece is in the
 * cache.
 */
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
