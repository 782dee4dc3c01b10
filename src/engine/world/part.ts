import { alignedBytes, CHUNK_CUT_BYTES, DTYPE_BYTES } from '../../common/index.js';
import { type PlacedTensor, wireDTypeOf } from '../layout/layout.js';
import type { WirePlan } from '../layout/wire-plan.js';
import type { BoxList } from './box-list.js';
import { rowOffset, rowsOf, visitRows } from './rows.js';

/** Runs of a writer's bytes that are put in their places in one go: under a millisecond. */
const SLICE_RUNS = 2_048;

/** Boxes that become spans between two yields: under a millisecond. */
const SLICE_BOXES = 1_024;

/** A span whose bytes do not lie together in the step: rows of one length, in bytes. */
interface SpanRows {
  readonly rowBytes: number;
  readonly extents: readonly number[];
  readonly strides: readonly number[];
}

/** Takes `length` bytes that begin `at` in a chunk and belong at `target` of the whole step's byte space. */
export type VisitRun = (target: number, at: number, length: number) => void;

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
  /** By span: where it begins in the step, and its bytes. */
  readonly #targets: Float64Array;
  readonly #lengths: Float64Array;
  readonly #rows: ReadonlyMap<number, SpanRows>;

  private constructor(spans: SpanBuilder, stepBytes: number) {
    this.#targets = spans.targets.slice(0, spans.count);
    this.#lengths = spans.lengths.slice(0, spans.count);
    this.#rows = spans.rows;
    this.stepBytes = stepBytes;
    this.firstStepBytes = spans.wireBytes;
  }

  /** All tensors, whole, in the order of the layout. Yields between slices. */
  static *whole({ boxes }: WirePlan): Generator<void, Part> {
    const spans = new SpanBuilder(boxes.length);
    let stepBytes = 0;
    for (const [index, { tensor, wireOffset, bytes }] of boxes.entries()) {
      if (index % SLICE_BOXES === SLICE_BOXES - 1) yield;
      spans.add(wireOffset, bytes, undefined, WHOLE);
      if (tensor.policy !== 'COPY_ONCE') stepBytes = spans.wireBytes;
    }
    return new Part(spans, stepBytes);
  }

  /**
   * The boxes of a writer that it `sends`, in their order; those of tensors of policy COPY_ONCE behind the others. Yields between
   * slices.
   */
  static *of(
    boxes: BoxList,
    plan: WirePlan,
    tensors: readonly PlacedTensor[],
    sends: (index: number) => boolean,
  ): Generator<void, Part> {
    const spans = new SpanBuilder(boxes.count);
    const once: number[] = [];
    const add = (tensor: PlacedTensor, index: number): void => {
      const rows = rowsOf(tensor.shape, boxes, index);
      if (rows.rowLength * rows.rowCount === 0) return;
      const elementBytes = DTYPE_BYTES[wireDTypeOf(tensor, plan.wireDType)];
      addBox(spans, plan.offsets[boxes.tensor[index]!]!, elementBytes, tensor.count, rows);
    };
    for (let index = 0; index < boxes.count; index++) {
      if (index % SLICE_BOXES === SLICE_BOXES - 1) yield;
      const tensor = tensors[boxes.tensor[index]!]!;
      if (!sends(index)) continue;
      if (tensor.policy === 'COPY_ONCE') once.push(index);
      else add(tensor, index);
    }
    const stepBytes = spans.wireBytes;
    for (const [at, index] of once.entries()) {
      if (at % SLICE_BOXES === SLICE_BOXES - 1) yield;
      add(tensors[boxes.tensor[index]!]!, index);
    }
    return new Part(spans, stepBytes);
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.#targets.byteLength + this.#lengths.byteLength;
  }

  get spanCount(): number {
    return this.#targets.length;
  }

  /** Length of a span in the writer's space, without the gap after it. */
  lengthOf(span: number): number {
    return this.#lengths[span]!;
  }

  /** Length of the runs of a span. */
  rowBytesOf(span: number): number {
    return this.#rows.get(span)?.rowBytes ?? Number.POSITIVE_INFINITY;
  }

  /** The runs of the first `bytes` of the writer's space. */
  *runs(bytes: number): Generator<{ readonly target: number; readonly length: number }> {
    let start = 0;
    for (let span = 0; span < this.spanCount && start < bytes; span++) {
      const spanBytes = Math.min(this.lengthOf(span), bytes - start);
      const rowBytes = this.#rows.get(span)?.rowBytes ?? spanBytes;
      for (let done = 0; done < spanBytes; done += rowBytes) {
        const length = Math.min(rowBytes, spanBytes - done);
        const row = this.#rows.get(span);
        yield { target: this.#targets[span]! + (row === undefined ? 0 : rowOffset(row, done / rowBytes)), length };
      }
      start = alignedBytes(start + this.lengthOf(span));
    }
  }

  /** Says of `length` bytes from `within` of a span, which lie `at` in a chunk, where each run of them belongs. */
  visitSpan(span: number, within: number, length: number, at: number, visit: VisitRun): void {
    const target = this.#targets[span]!;
    const rows = this.#rows.get(span);
    if (rows === undefined) {
      visit(target + within, at, length);
      return;
    }
    visitRows(rows, rows.rowBytes, within, length, (offset, done, count) => visit(target + offset, at + done, count));
  }
}

/** Where a writer is in its part: chunks come in rising offsets, so each begins where the last one ended. */
export class PartCursor {
  readonly #part: Part;
  #span = 0;
  /** Where that span begins in the writer's space. */
  #start = 0;

  constructor(part: Part) {
    this.#part = part;
  }

  reset(): void {
    this.#span = 0;
    this.#start = 0;
  }

  /**
   * Visits the runs of the next `length` bytes, which begin at `offset` of the writer's space; gaps belong nowhere. It stops
   * after SLICE_RUNS of them, at a place where chunks may be cut too: returns how many bytes it has taken.
   */
  take(offset: number, length: number, visit: VisitRun): number {
    const end = offset + length;
    const part = this.#part;
    let runs = SLICE_RUNS;
    while (this.#span < part.spanCount) {
      const spanEnd = this.#start + part.lengthOf(this.#span);
      const from = Math.max(offset, this.#start);
      const rowBytes = part.rowBytesOf(this.#span);
      const last = Math.min(end, spanEnd);
      const to = Math.min(last, from + Math.floor((runs * rowBytes) / CHUNK_CUT_BYTES) * CHUNK_CUT_BYTES);
      if (to > from) part.visitSpan(this.#span, from - this.#start, to - from, from - offset, visit);
      if (to < last) return to - offset;
      if (spanEnd > end) break;
      runs -= Math.max(1, Math.ceil((to - from) / rowBytes));
      this.#span += 1;
      this.#start = alignedBytes(spanEnd);
      if (runs <= 0) return Math.min(end, this.#start) - offset;
    }
    return length;
  }
}

/** Whether a span starts and ends where its tensors do: what is before or behind it in the step is a gap then. */
interface Ends {
  readonly startsTensor: boolean;
  readonly endsTensor: boolean;
}

const WHOLE: Ends = { startsTensor: true, endsTensor: true };
const INSIDE: Ends = { startsTensor: false, endsTensor: false };

class SpanBuilder {
  readonly targets: Float64Array<ArrayBuffer>;
  readonly lengths: Float64Array<ArrayBuffer>;
  readonly rows = new Map<number, SpanRows>();
  /** Spans so far. */
  count = 0;
  /** Bytes of the writer's space so far. */
  wireBytes = 0;
  /** Where the last span begins there. */
  #last = 0;
  /** Whether the bytes behind the last span are a gap of the step too, not elements. */
  #endsTensor = false;

  constructor(countMax: number) {
    this.targets = new Float64Array(countMax);
    this.lengths = new Float64Array(countMax);
  }

  /** Appends a span, or lengthens the last one, over a gap that both spaces have too, when they run in step. */
  add(target: number, bytes: number, rows: SpanRows | undefined, { startsTensor, endsTensor }: Ends): void {
    const last = this.count - 1;
    const isNext = (this.#endsTensor && startsTensor) || this.lengths[last] === this.wireBytes - this.#last;
    const canJoin = last >= 0 && rows === undefined && !this.rows.has(last) && isNext;
    if (canJoin && target - this.targets[last]! === this.wireBytes - this.#last) {
      this.lengths[last] = this.wireBytes - this.#last + bytes;
    } else {
      if (rows !== undefined) this.rows.set(this.count, rows);
      this.#last = this.wireBytes;
      this.targets[this.count] = target;
      this.lengths[this.count] = bytes;
      this.count += 1;
    }
    this.wireBytes += alignedBytes(bytes);
    this.#endsTensor = endsTensor;
  }
}

function addBox(
  spans: SpanBuilder,
  tensorOffset: number,
  elementBytes: number,
  tensorCount: number,
  { start, rowLength, rowCount, extents, strides }: ReturnType<typeof rowsOf>,
): void {
  const target = tensorOffset + start * elementBytes;
  const rowBytes = rowLength * elementBytes;
  if (rowCount === 1) {
    spans.add(target, rowBytes, undefined, {
      startsTensor: start === 0,
      endsTensor: start + rowLength === tensorCount,
    });
    return;
  }
  const rows = { rowBytes, extents, strides: strides.map((stride) => stride * elementBytes) };
  spans.add(target, rowBytes * rowCount, rows, INSIDE);
}
