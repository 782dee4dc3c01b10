import { alignedBytes } from '../../common/index.js';

/** Rows of one length, which do not lie together in the step. */
export interface SpanRows {
  readonly rowBytes: number;
  /** The dimensions that lead from row to row, outermost first, and how many bytes of the step one move in each is. */
  readonly extents: ArrayLike<number>;
  readonly strides: ArrayLike<number>;
}

/** Whether a span starts and ends where its tensors do: what is before or behind it in the step is a gap then. */
export interface Ends {
  readonly startsTensor: boolean;
  readonly endsTensor: boolean;
}

/**
 * The spans of a writer's byte space, in columns: a thousand writers with ten thousand boxes each have ten million.
 *
 *   stepOffsets, lengths   by span: where it begins in the step, and its bytes
 *   rowBytes               by span: length of its rows; 0: its bytes lie together
 *   dimsEnd                by span: where its dimensions end in `dims`: first all their extents, then all their strides
 */
export class Spans {
  readonly #stepOffsets: Float64Array;
  readonly #lengths: Float64Array;
  /** Undefined: the bytes of every span lie together. */
  readonly #rows:
    | { readonly bytes: Float64Array; readonly dimsEnd: Uint32Array; readonly dims: Float64Array }
    | undefined;

  constructor({ count, stepOffsets, lengths, rowBytes, dimsEnd, dims }: SpansBuilder) {
    this.#stepOffsets = stepOffsets.slice(0, count);
    this.#lengths = lengths.slice(0, count);
    if (dims.length > 0) {
      this.#rows = {
        bytes: rowBytes.slice(0, count),
        dimsEnd: dimsEnd.slice(0, count),
        dims: Float64Array.from(dims),
      };
    }
  }

  get count(): number {
    return this.#stepOffsets.length;
  }

  /** Memory that they take. */
  get bytes(): number {
    const rows = this.#rows;
    const rowsBytes = rows === undefined ? 0 : rows.bytes.byteLength + rows.dimsEnd.byteLength + rows.dims.byteLength;
    return this.#stepOffsets.byteLength + this.#lengths.byteLength + rowsBytes;
  }

  /** Where a span begins in the step. */
  stepOffsetOf(span: number): number {
    return this.#stepOffsets[span]!;
  }

  /** Length of a span in the writer's space, without the gap after it. */
  lengthOf(span: number): number {
    return this.#lengths[span]!;
  }

  /** Length of the rows of a span; undefined: its bytes lie together. */
  rowBytesOf(span: number): number | undefined {
    return this.#rows?.bytes[span] || undefined;
  }

  /** The rows of a span; undefined: its bytes lie together. */
  rowsOf(span: number): SpanRows | undefined {
    const rowBytes = this.rowBytesOf(span);
    if (rowBytes === undefined || this.#rows === undefined) return undefined;
    const { dimsEnd, dims } = this.#rows;
    const end = dimsEnd[span]!;
    const begin = span === 0 ? 0 : dimsEnd[span - 1]!;
    const middle = (begin + end) / 2;
    return { rowBytes, extents: dims.subarray(begin, middle), strides: dims.subarray(middle, end) };
  }
}

/** Spans that are appended one by one. */
export class SpansBuilder {
  readonly stepOffsets: Float64Array<ArrayBuffer>;
  readonly lengths: Float64Array<ArrayBuffer>;
  readonly rowBytes: Float64Array<ArrayBuffer>;
  readonly dimsEnd: Uint32Array<ArrayBuffer>;
  readonly dims: number[] = [];
  /** Spans so far. */
  count = 0;
  /** Bytes of the writer's space so far. */
  wireBytes = 0;
  /** Where the last span begins in the writer's space. */
  #last = 0;
  /** Whether the bytes behind the last span are a gap of the step too, not elements. */
  #endsTensor = false;

  constructor(countMax: number) {
    this.stepOffsets = new Float64Array(countMax);
    this.lengths = new Float64Array(countMax);
    this.rowBytes = new Float64Array(countMax);
    this.dimsEnd = new Uint32Array(countMax);
  }

  /** Appends a span, or lengthens the last one, over a gap that both spaces have too, when they run in step. */
  add(stepOffset: number, bytes: number, rows: SpanRows | undefined, { startsTensor, endsTensor }: Ends): void {
    const last = this.count - 1;
    const isNext = (this.#endsTensor && startsTensor) || this.lengths[last] === this.wireBytes - this.#last;
    const canJoin = last >= 0 && rows === undefined && this.rowBytes[last] === 0 && isNext;
    if (canJoin && stepOffset - this.stepOffsets[last]! === this.wireBytes - this.#last) {
      this.lengths[last] = this.wireBytes - this.#last + bytes;
    } else {
      if (rows !== undefined) this.dims.push(...Array.from(rows.extents), ...Array.from(rows.strides));
      this.#last = this.wireBytes;
      this.stepOffsets[this.count] = stepOffset;
      this.lengths[this.count] = bytes;
      this.rowBytes[this.count] = rows?.rowBytes ?? 0;
      this.dimsEnd[this.count] = this.dims.length;
      this.count += 1;
    }
    this.wireBytes += alignedBytes(bytes);
    this.#endsTensor = endsTensor;
  }
}
