import {
  alignedBytes,
  assert,
  DTYPE_BYTES,
  type DType,
  type FloatDType,
  isFloatDType,
  quote,
  ShadowkeepError,
} from '../common/index.js';
import { SCRATCH_BYTES } from './arena.js';
import type { AverageSpec } from './averages/index.js';
import { lastFrom } from './last-from.js';
import type { Layout, PlacedTensor } from './layout.js';
import type { PageTable, Plane } from './plane.js';
import { pageAt } from './tables.js';
import { choiceOf, isFiltered, type TensorFilter } from './tensor-filter.js';
import type { Shadow, Version } from './version.js';
import { type BoxList, type Rows, rowsOf, visitRows } from './world/index.js';

/** What a reader wants: all tensors, some by their index in the layout, or boxes. */
export type Selection = 'ALL' | ((index: number) => boolean) | BoxList;

/** Tensors or boxes between two yields while a read is planned: under a millisecond. */
const SLICE_TENSORS = 1_024;

/** Runs that are read between two yields: under a millisecond. */
const SLICE_RUNS = 2_048;

/** As many elements as are copied or cast in the time of one run. */
const RUN_ELEMENTS = 4_096;

/** A part of a tensor. */
export interface ReadBox {
  readonly offset: readonly number[];
  readonly extent: readonly number[];
  readonly rows: Rows;
}

/** A tensor of a read, and where its bytes start in the read's byte space. */
export interface ReadTensor {
  readonly tensor: PlacedTensor;
  readonly dtype: DType;
  readonly offset: number;
  readonly bytes: number;
  /** Undefined: it is read whole. */
  readonly box: ReadBox | undefined;
}

/** Where elements of a flat space come from: fills `target` with those from `flat`, as many as fit. */
export type ElementSource = (flat: number, target: Uint8Array) => void;

/** What a reader gets: which tensors, in which dtype, from where. The version must be pinned while it is used. */
export interface ReadPlan {
  readonly tensors: readonly ReadTensor[];
  readonly totalBytes: number;
  readonly averaged: ElementSource;
  readonly copied: ElementSource;
  /** Elements of averaged tensors that take about as long as a run of one element: RUN_ELEMENTS where they lie ready. */
  readonly runElements: number;
}

/** Plans the read of one average of a version and of its copied tensors; averaged ones are cast to `dtype`. Yields between slices. */
export function* planRead(
  layout: Layout,
  version: Version,
  { spec, plane, table }: Shadow,
  selection: Selection,
  dtype: FloatDType = plane.dtype,
): Generator<void, ReadPlan> {
  const averaged: ElementSource = (flat, target) => readElements(table, plane, flat, dtype, target);
  return yield* planFrom(layout, version, spec, selection, dtype, averaged);
}

/**
 * Plans a read of the tensors that `average` takes from any source, and of the copied tensors of the version. Yields between
 * slices. Throws INVALID_FIELD.
 */
export function* planFrom(
  layout: Layout,
  { copied }: Version,
  average: AverageSpec,
  selection: Selection,
  dtype: FloatDType,
  averaged: ElementSource,
  runElements = RUN_ELEMENTS,
): Generator<void, ReadPlan> {
  const places = yield* placeSelection(layout, average, selection, dtype);
  const source: ElementSource = (flat, target) => readElements(copied.table, copied.plane, flat, undefined, target);
  return { ...places, averaged, copied: source, runElements };
}

/** The tensors of a read, and the length of its byte space. */
type Places = Pick<ReadPlan, 'tensors' | 'totalBytes'>;

/**
 * The last whole read of each average that leaves tensors out, and of all others together, by their layout: all readers have
 * the same list.
 */
const wholeReads = new WeakMap<
  AverageSpec | Layout,
  { readonly layout: Layout; readonly dtype: FloatDType; readonly places: Places }
>();

function* placeSelection(
  layout: Layout,
  average: AverageSpec,
  selection: Selection,
  dtype: FloatDType,
): Generator<void, Places> {
  if (selection !== 'ALL') return yield* placeTensorsOf(layout, average, selection, dtype);
  const owner = isFiltered(average) ? average : layout;
  const last = wholeReads.get(owner);
  if (last?.layout === layout && last.dtype === dtype) return last.places;
  const places = yield* placeTensorsOf(layout, average, () => true, dtype);
  wholeReads.set(owner, { layout, dtype, places });
  return places;
}

function* placeTensorsOf(
  layout: Layout,
  average: AverageSpec,
  selection: Exclude<Selection, 'ALL'>,
  dtype: FloatDType,
): Generator<void, Places> {
  const isServed = servedBy(layout, average);
  let offset = 0;
  const tensors: ReadTensor[] = [];
  const add = (tensor: PlacedTensor, count: number, box: ReadBox | undefined): void => {
    const as = tensor.policy === 'AVERAGE' ? dtype : tensor.dtype;
    const bytes = count * DTYPE_BYTES[as];
    tensors.push({ tensor, dtype: as, offset, bytes, box });
    offset += alignedBytes(bytes);
  };
  if (typeof selection === 'function') {
    for (const [index, tensor] of layout.tensors.entries()) {
      if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
      if (isServed(index) && selection(index)) add(tensor, tensor.count, undefined);
    }
  } else {
    for (let index = 0; index < selection.count; index++) {
      if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
      const tensor = layout.tensors[selection.tensor[index]!];
      if (tensor === undefined || !isServed(selection.tensor[index]!)) throw notServed(index, tensor);
      const { offset: from, extent } = selection.place(index, tensor);
      const rows = rowsOf(tensor.shape, selection, index);
      add(tensor, rows.rowLength * rows.rowCount, { offset: Array.from(from), extent: Array.from(extent), rows });
    }
  }
  return { tensors, totalBytes: offset };
}

/** Whether a read of an average has a tensor, by its index in the layout: those that it takes, and the copied ones. */
export function servedBy({ tensors }: Layout, average: TensorFilter): (index: number) => boolean {
  const isTaken = choiceOf(tensors, average);
  return (index) => {
    const policy = tensors[index]?.policy;
    return policy === 'AVERAGE' ? isTaken(index) : policy === 'COPY' || policy === 'COPY_ONCE';
  };
}

/**
 * Fills `target` with the bytes from `offset` of the byte space of a plan, gaps with zeros. `offset` and the length are
 * multiples of 16 (the last piece ends with the space), so no element is cut. Yields between slices: it counts only if the
 * version is held after the last one.
 */
export function* readBytes(plan: ReadPlan, offset: number, target: Uint8Array): Generator<void> {
  const end = offset + target.length;
  let filled = offset;
  let runs = 0;
  // A read asks for each chunk.
  for (let index = lastFrom(plan.tensors, (entry) => entry.offset, offset); index < plan.tensors.length; index++) {
    const entry = plan.tensors[index];
    if (entry === undefined || entry.offset >= end) break;
    const from = Math.max(entry.offset, offset);
    const to = Math.min(entry.offset + entry.bytes, end);
    if (to <= from) continue;
    target.fill(0, filled - offset, from - offset);
    const runBytes = runBytesOf(plan, entry);
    for (filled = from; filled < to; ) {
      const part = Math.min(to - filled, Math.max(1, SLICE_RUNS - runs) * runBytes);
      readTensor(plan, entry, filled - entry.offset, target.subarray(filled - offset, filled - offset + part));
      filled += part;
      runs += Math.ceil(part / runBytes);
      if (runs < SLICE_RUNS) continue;
      runs = 0;
      if (filled < end) yield;
    }
  }
  target.fill(0, filled - offset);
}

/** Bytes of a tensor's plan that are one piece of work: a row of its box, or what its source takes in one go. */
function runBytesOf({ runElements }: ReadPlan, { tensor, dtype, box }: ReadTensor): number {
  const elements = tensor.policy === 'AVERAGE' ? runElements : RUN_ELEMENTS;
  return Math.min(elements, box?.rows.rowLength ?? elements) * DTYPE_BYTES[dtype];
}

/** Fills `target` with the bytes from `offset` of one tensor, or of the box of it: row by row. */
function readTensor(plan: ReadPlan, { tensor, dtype, box }: ReadTensor, offset: number, target: Uint8Array): void {
  const size = DTYPE_BYTES[dtype];
  const isAveraged = tensor.policy === 'AVERAGE';
  const read = (element: number, part: Uint8Array): void => {
    if (isAveraged) plan.averaged(tensor.flat + element, part);
    else plan.copied(tensor.flat + element * size, part);
  };
  if (box === undefined) {
    read(offset / size, target);
    return;
  }
  const { rows } = box;
  visitRows(rows, rows.rowLength, offset / size, target.length / size, (element, at, count) => {
    read(rows.start + element, target.subarray(at * size, (at + count) * size));
  });
}

function notServed(index: number, tensor: PlacedTensor | undefined): ShadowkeepError {
  const field = `boxes[${index}]`;
  const problem = `is of tensor ${quote(tensor?.name ?? '')}, which this average does not take`;
  return new ShadowkeepError('INVALID_FIELD', `${field} ${problem}`, { metadata: { field } });
}

/** Fills `target` with the elements of a plane from `flat`, cast to `dtype` where that is another one. */
export function readElements(
  table: PageTable,
  plane: Plane,
  flat: number,
  dtype: FloatDType | undefined,
  target: Uint8Array,
): void {
  const outBytes = dtype === undefined ? 1 : DTYPE_BYTES[dtype];
  const isCast = plane.dtype !== dtype;
  const room = isCast ? SCRATCH_BYTES / DTYPE_BYTES.F64 : plane.pageElements;
  let element = flat;
  for (let done = 0; done < target.length; ) {
    const page = pageAt(table, plane, element);
    const within = element % plane.pageElements;
    const count = Math.min((target.length - done) / outBytes, plane.pageElements - within, room);
    const address = page.address + within * plane.elementBytes;
    if (isCast) {
      assert(isFloatDType(plane.dtype) && dtype !== undefined, 'only floats are cast');
      page.arena.kernels.cast[plane.dtype][dtype](0, address, count);
    }
    target.set(page.arena.bytes(isCast ? 0 : address, count * outBytes), done);
    element += count;
    done += count * outBytes;
  }
}

/** Puts elements into a table from `flat`, in the plane's own dtype; nobody sees the table yet. */
export function writeElements(table: PageTable, plane: Plane, flat: number, data: Uint8Array): void {
  for (let done = 0; done < data.length; ) {
    const element = flat + done / plane.elementBytes;
    const page = pageAt(table, plane, element);
    const within = (element % plane.pageElements) * plane.elementBytes;
    const count = Math.min(data.length - done, plane.pageElements * plane.elementBytes - within);
    page.arena.bytes(page.address + within, count).set(data.subarray(done, done + count));
    done += count;
  }
}

/** Copies the elements of tensors from one table to another, cast to its dtype, in slices. */
export function* copyElements(
  tensors: Iterable<PlacedTensor>,
  from: { readonly plane: Plane; readonly table: PageTable },
  to: { readonly plane: Plane; readonly table: PageTable },
): Generator<void> {
  const buffer = new Uint8Array(SCRATCH_BYTES);
  for (const { flat, count } of tensors) {
    for (let done = 0; done < count; ) {
      const part = Math.min(count - done, SCRATCH_BYTES / to.plane.elementBytes);
      const piece = buffer.subarray(0, part * to.plane.elementBytes);
      readElements(from.table, from.plane, flat + done, to.plane.dtype, piece);
      writeElements(to.table, to.plane, flat + done, piece);
      done += part;
      yield;
    }
  }
}
