import { alignedBytes, DTYPE_BYTES, type DType, type FloatDType, quote, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec } from '../averages/index.js';
import type { Layout } from '../layout/layout.js';
import { choiceOf, isFiltered, type TensorFilter } from '../layout/tensor-filter.js';
import type { PlacedTensor } from '../layout/tensor-spec.js';
import type { TensorTable } from '../layout/tensor-table.js';
import { type BoxList, type Rows, rowsOf } from '../world/index.js';

/** The selection of a reader: all tensors, some tensors by their index in the layout, or boxes. */
export type Selection = 'ALL' | ((index: number) => boolean) | BoxList;

/** Tensors or boxes between two yields while a read is planned: under a millisecond. */
const SLICE_TENSORS = 1_024;

/** Bytes of the list of a read for each box, beside the box itself, and for each whole tensor. */
export const READ_BOX_BYTES = Float64Array.BYTES_PER_ELEMENT;
export const READ_TENSOR_BYTES = READ_BOX_BYTES + Uint32Array.BYTES_PER_ELEMENT;

/** A tensor of a read, or a box of one, and where its bytes start in the read's byte space. */
export interface ReadTensor {
  readonly tensor: PlacedTensor;
  readonly dtype: DType;
  readonly readOffset: number;
  readonly bytes: number;
  /** The rows of a box; undefined: the tensor is read whole. */
  readonly rows: Rows | undefined;
}

/**
 * The tensors or boxes of a read, one behind the other in its byte space. In columns: a read lasts as long as its reader
 * likes, and objects for 65,536 boxes would hold 34 MiB.
 */
export class ReadTensors {
  readonly #tensors: TensorTable;
  /** The dtype of the averaged tensors. */
  readonly #dtype: FloatDType;
  readonly #boxes: BoxList | undefined;
  /** For each entry: the tensor's index in the layout, and where the entry starts in the byte space of the read. */
  readonly #tensor: Uint32Array;
  readonly #readOffset: Float64Array;
  #totalBytes = 0;

  private constructor({ tensors }: Layout, dtype: FloatDType, tensor: Uint32Array, boxes?: BoxList) {
    this.#tensors = tensors;
    this.#dtype = dtype;
    this.#boxes = boxes;
    this.#tensor = tensor;
    this.#readOffset = new Float64Array(tensor.length);
  }

  /** Yields between slices. Throws INVALID_FIELD for a box of a tensor that the average does not serve. */
  static *of(
    layout: Layout,
    average: TensorFilter,
    selection: Selection,
    dtype: FloatDType,
  ): Generator<void, ReadTensors> {
    const list =
      typeof selection === 'object'
        ? new ReadTensors(layout, dtype, yield* servedBoxes(layout, average, selection), selection)
        : new ReadTensors(layout, dtype, yield* servedTensors(layout, average, selection));
    for (let index = 0; index < list.count; index++) {
      if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
      list.#readOffset[index] = list.#totalBytes;
      list.#totalBytes += alignedBytes(list.at(index).bytes);
    }
    return list;
  }

  get count(): number {
    return this.#tensor.length;
  }

  /** Length of the byte space. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  at(index: number): ReadTensor {
    const tensor = this.tensorAt(index);
    const dtype = tensor.policy === 'AVERAGE' ? this.#dtype : tensor.dtype;
    const rows = this.#boxes && rowsOf(tensor.shape, this.#boxes, index);
    const count = rows === undefined ? tensor.count : rows.rowLength * rows.rowCount;
    return { tensor, dtype, readOffset: this.readOffsetAt(index), bytes: count * DTYPE_BYTES[dtype], rows };
  }

  tensorAt(index: number): PlacedTensor {
    return this.#tensors.at(this.#tensor[index]!)!;
  }

  readOffsetAt(index: number): number {
    return this.#readOffset[index]!;
  }

  get isOfBoxes(): boolean {
    return this.#boxes !== undefined;
  }

  /** Where in its tensor an entry lies; undefined for a whole tensor. */
  boxAt(index: number): { offset: ArrayLike<number>; extent: ArrayLike<number> } | undefined {
    return this.#boxes?.place(index, this.#tensors.shapeOf(this.#tensor[index]!));
  }
}

/**
 * Returns the index of the tensor of each box. Yields between slices. Throws INVALID_FIELD for a box of a tensor that the
 * average does not serve.
 */
export function* servedBoxes(layout: Layout, average: TensorFilter, { tensor }: BoxList): Generator<void, Uint32Array> {
  const isServed = servedBy(layout, average);
  for (let index = 0; index < tensor.length; index++) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    if (!isServed(tensor[index]!)) throw notServed(index, layout.tensors.nameOf(tensor[index]!));
  }
  return tensor;
}

function* servedTensors(
  layout: Layout,
  average: TensorFilter,
  selection: Exclude<Selection, BoxList>,
): Generator<void, Uint32Array> {
  const isServed = servedBy(layout, average);
  const chosen = new Uint32Array(layout.tensors.length);
  let count = 0;
  for (let index = 0; index < chosen.length; index++) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    if (isServed(index) && (selection === 'ALL' || selection(index))) chosen[count++] = index;
  }
  return chosen.slice(0, count);
}

/** Whether a read of an average has a tensor, by its index in the layout: those that it takes, and the copied ones. */
export function servedBy({ tensors }: Layout, average: TensorFilter): (index: number) => boolean {
  const isTaken = choiceOf(tensors, average);
  return (index) => {
    const policy = tensors.policyOf(index);
    return policy === 'AVERAGE' ? isTaken(index) : policy === 'COPY' || policy === 'COPY_ONCE';
  };
}

function notServed(index: number, tensor: string): ShadowkeepError {
  const field = `boxes[${index}]`;
  const problem = `is of tensor ${quote(tensor)}, which this average does not take`;
  return new ShadowkeepError('INVALID_FIELD', `${field} ${problem}`, { metadata: { field } });
}

/**
 * The lists of whole reads by dtype. Each average that leaves tensors out has its own; all others share those of their
 * layout.
 */
const wholeReads = new WeakMap<AverageSpec | Layout, { layout: Layout; lists: Map<FloatDType, ReadTensors> }>();

/** The tensors or boxes of a read; all whole reads of a dtype share one list. Yields between slices. */
export function* readTensorsOf(
  layout: Layout,
  average: AverageSpec,
  selection: Selection,
  dtype: FloatDType,
): Generator<void, ReadTensors> {
  if (selection !== 'ALL') return yield* ReadTensors.of(layout, average, selection, dtype);
  const owner = isFiltered(average) ? average : layout;
  const kept = wholeReads.get(owner);
  const lists = kept?.layout === layout ? kept.lists : new Map<FloatDType, ReadTensors>();
  wholeReads.set(owner, { layout, lists });
  const list = lists.get(dtype) ?? (yield* ReadTensors.of(layout, average, selection, dtype));
  lists.set(dtype, list);
  return list;
}
