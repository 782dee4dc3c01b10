import { alignedBytes, CHUNK_CUT_BYTES, DTYPE_BYTES } from '../../common/index.js';
import { wireDTypeOf } from '../layout/layout.js';
import type { WirePlan } from '../layout/wire-plan.js';
import type { BoxList } from './box-list.js';
import { rowOffset, rowsOf, visitRows } from './rows.js';
import { type Ends, Spans, SpansBuilder } from './spans.js';

/** Runs of a writer's bytes that are put in their places in one go: under a millisecond. */
const SLICE_RUNS = 2_048;

/** Boxes that become spans between two yields: under a millisecond. */
const SLICE_BOXES = 1_024;

/**
 * Takes `length` bytes that begin at `chunkOffset` of a chunk and belong at `stepOffset` of the whole step's byte space.
 */
export type VisitRun = (stepOffset: number, chunkOffset: number, length: number) => void;

/**
 * What one writer sends of a step: its byte space, and where each byte belongs in that of the whole step. A span is a box,
 * or several that lie one behind the other in both spaces; each starts at the next multiple of 64 of the writer's space.
 *
 *   writer  | span 0 ....|span 1 .|span 2 ......|
 *   step    ... |span 1 .| ... |span 0 ....| ... |row 0 of span 2| ... |row 1| ...
 */
export class Part {
  /** Length of the writer's step without the tensors of policy COPY_ONCE, and with them: multiples of 64. */
  readonly stepBytes: number;
  readonly firstStepBytes: number;
  readonly #spans: Spans;

  private constructor(builder: SpansBuilder, stepBytes: number) {
    this.#spans = new Spans(builder);
    this.stepBytes = stepBytes;
    this.firstStepBytes = builder.wireBytes;
  }

  /** All tensors, whole, in the order of the layout. Yields between slices. */
  static *whole({ boxes, layout }: WirePlan): Generator<void, Part> {
    const spans = new SpansBuilder(boxes.count);
    let stepBytes = 0;
    for (let index = 0; index < boxes.count; index++) {
      if (index % SLICE_BOXES === SLICE_BOXES - 1) yield;
      const { tensor, stepOffset, bytes } = boxes.at(index);
      spans.add(stepOffset, bytes, undefined, WHOLE);
      if (layout.tensors.policyOf(tensor) !== 'COPY_ONCE') stepBytes = spans.wireBytes;
    }
    return new Part(spans, stepBytes);
  }

  /**
   * The boxes of a writer that it `sends`, in their order; those of tensors of policy COPY_ONCE behind the others. Yields
   * between slices.
   */
  static *of(
    boxes: BoxList,
    { layout, wireDType, stepOffsets }: WirePlan,
    sends: (index: number) => boolean,
  ): Generator<void, Part> {
    const { tensors } = layout;
    const spans = new SpansBuilder(boxes.count);
    const once: number[] = [];
    const add = (index: number): void => {
      const tensor = boxes.tensor[index]!;
      const rows = rowsOf(tensors.shapeOf(tensor), boxes, index);
      if (rows.rowLength * rows.rowCount === 0) return;
      const elementBytes = DTYPE_BYTES[wireDTypeOf(layout, tensor, wireDType)];
      addBox(spans, stepOffsets[tensor]!, elementBytes, tensors.countOf(tensor), rows);
    };
    for (let index = 0; index < boxes.count; index++) {
      if (index % SLICE_BOXES === SLICE_BOXES - 1) yield;
      if (!sends(index)) continue;
      if (tensors.policyOf(boxes.tensor[index]!) === 'COPY_ONCE') once.push(index);
      else add(index);
    }
    const stepBytes = spans.wireBytes;
    for (const [at, index] of once.entries()) {
      if (at % SLICE_BOXES === SLICE_BOXES - 1) yield;
      add(index);
    }
    return new Part(spans, stepBytes);
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.#spans.bytes;
  }

  get spanCount(): number {
    return this.#spans.count;
  }

  /** Length of a span in the writer's space, without the gap after it. */
  lengthOf(span: number): number {
    return this.#spans.lengthOf(span);
  }

  /** Length of the runs of a span. */
  rowBytesOf(span: number): number {
    return this.#spans.rowBytesOf(span) ?? Number.POSITIVE_INFINITY;
  }

  /** The runs of the first `bytes` of the writer's space. */
  *runs(bytes: number): Generator<{ readonly stepOffset: number; readonly length: number }> {
    let start = 0;
    for (let span = 0; span < this.spanCount && start < bytes; span++) {
      const spanBytes = Math.min(this.lengthOf(span), bytes - start);
      const rows = this.#spans.rowsOf(span);
      const rowBytes = rows?.rowBytes ?? spanBytes;
      for (let done = 0; done < spanBytes; done += rowBytes) {
        const length = Math.min(rowBytes, spanBytes - done);
        const within = rows === undefined ? 0 : rowOffset(rows, done / rowBytes);
        yield { stepOffset: this.#spans.stepOffsetOf(span) + within, length };
      }
      start = alignedBytes(start + this.lengthOf(span));
    }
  }

  /**
   * Says of `length` bytes from `within` of a span, which lie at `chunkOffset` of a chunk, where each run of them
   * belongs.
   */
  visitSpan(span: number, within: number, length: number, chunkOffset: number, visit: VisitRun): void {
    const stepOffset = this.#spans.stepOffsetOf(span);
    const rows = this.#spans.rowsOf(span);
    if (rows === undefined) {
      visit(stepOffset + within, chunkOffset, length);
      return;
    }
    visitRows(rows, rows.rowBytes, within, length, (rowWithin, done, count) => {
      visit(stepOffset + rowWithin, chunkOffset + done, count);
    });
  }
}

/** The place of a writer in its part. Chunks come in rising offsets, so that each begins where the last one ended. */
export class PartCursor {
  readonly #part: Part;
  #span = 0;
  /** Where the present span begins in the writer's space. */
  #start = 0;

  constructor(part: Part) {
    this.#part = part;
  }

  reset(): void {
    this.#span = 0;
    this.#start = 0;
  }

  /**
   * Visits the runs of the next `length` bytes, which begin at `partOffset` of the writer's space; gaps belong nowhere.
   * It stops after SLICE_RUNS of them, at a place where chunks may be cut too: returns how many bytes it has taken.
   */
  visit(partOffset: number, length: number, visit: VisitRun): number {
    const end = partOffset + length;
    const part = this.#part;
    let runs = SLICE_RUNS;
    while (this.#span < part.spanCount) {
      const spanEnd = this.#start + part.lengthOf(this.#span);
      const from = Math.max(partOffset, this.#start);
      const rowBytes = part.rowBytesOf(this.#span);
      const last = Math.min(end, spanEnd);
      const to = Math.min(last, from + Math.floor((runs * rowBytes) / CHUNK_CUT_BYTES) * CHUNK_CUT_BYTES);
      if (to > from) part.visitSpan(this.#span, from - this.#start, to - from, from - partOffset, visit);
      if (to < last) return to - partOffset;
      if (spanEnd > end) break;
      runs -= Math.max(1, Math.ceil((to - from) / rowBytes));
      this.#span += 1;
      this.#start = alignedBytes(spanEnd);
      if (runs <= 0) return Math.min(end, this.#start) - partOffset;
    }
    return length;
  }
}

const WHOLE: Ends = { startsTensor: true, endsTensor: true };
const INSIDE: Ends = { startsTensor: false, endsTensor: false };

function addBox(
  spans: SpansBuilder,
  tensorOffset: number,
  elementBytes: number,
  tensorCount: number,
  { start, rowLength, rowCount, extents, strides }: ReturnType<typeof rowsOf>,
): void {
  const stepOffset = tensorOffset + start * elementBytes;
  const rowBytes = rowLength * elementBytes;
  if (rowCount === 1) {
    spans.add(stepOffset, rowBytes, undefined, {
      startsTensor: start === 0,
      endsTensor: start + rowLength === tensorCount,
    });
    return;
  }
  const rows = { rowBytes, extents, strides: strides.map((stride) => stride * elementBytes) };
  spans.add(stepOffset, rowBytes * rowCount, rows, INSIDE);
}
