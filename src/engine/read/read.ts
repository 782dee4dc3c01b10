import { assert, DTYPE_BYTES, type FloatDType, isFloatDType } from '../../common/index.js';
import type { AverageSpec } from '../averages/index.js';
import { lastFrom } from '../fold/last-from.js';
import type { Layout } from '../layout/layout.js';
import { SCRATCH_BYTES } from '../memory/arena.js';
import type { PageTable, Plane } from '../memory/plane.js';
import { pageAt } from '../memory/tables.js';
import type { Shadow, Version } from '../versions/version.js';
import { visitRows } from '../world/index.js';
import { type ReadTensor, type ReadTensors, readTensorsOf, type Selection } from './read-tensors.js';

/** Runs that are read between two yields: under a millisecond. */
const SLICE_RUNS = 2_048;

/** Number of elements that are copied or cast in the time that one run of bytes takes. */
const RUN_ELEMENTS = 4_096;

/** A source of elements of a flat space: fills `out` with the elements from `flat` on, as many as fit. */
export type ElementSource = (flat: number, out: Uint8Array) => void;

/** The plan of a read: which tensors, in which dtype, from which source. The version must be pinned while it is used. */
export interface ReadPlan {
  readonly tensors: ReadTensors;
  readonly averaged: ElementSource;
  readonly copied: ElementSource;
  /** Elements of averaged tensors that take about as long as a run of one element: RUN_ELEMENTS where they lie ready. */
  readonly runElements: number;
}

/**
 * Plans the read of one average of a version and of its copied tensors; averaged ones are cast to `dtype`. Yields between
 * slices.
 */
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
 * Plans a read of the tensors that `average` takes from any source, and of the copied tensors of the version. Yields
 * between slices. Throws INVALID_FIELD.
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
  const tensors = yield* readTensorsOf(layout, average, selection, dtype);
  const source: ElementSource = (flat, target) => readElements(copied.table, copied.plane, flat, undefined, target);
  return { tensors, averaged, copied: source, runElements };
}

/**
 * Fills `out` with the bytes from `readOffset` of the byte space of a plan, gaps with zeros. `readOffset` and the length
 * are multiples of 16 (the last piece ends with the space), so no element is cut. Yields between slices: it counts only
 * if the version is held after the last one.
 */
export function* readBytes(plan: ReadPlan, readOffset: number, out: Uint8Array): Generator<void> {
  const end = readOffset + out.length;
  let filled = readOffset;
  let runs = 0;
  const { tensors } = plan;
  // A read asks for each chunk.
  for (
    let index = lastFrom(tensors.count, (at) => tensors.readOffsetAt(at), readOffset);
    index < tensors.count;
    index++
  ) {
    if (tensors.readOffsetAt(index) >= end) break;
    const entry = tensors.at(index);
    const from = Math.max(entry.readOffset, readOffset);
    const to = Math.min(entry.readOffset + entry.bytes, end);
    if (to <= from) continue;
    out.fill(0, filled - readOffset, from - readOffset);
    const runBytes = runBytesOf(plan, entry);
    for (filled = from; filled < to; ) {
      const part = Math.min(to - filled, Math.max(1, SLICE_RUNS - runs) * runBytes);
      readTensor(plan, entry, filled - entry.readOffset, out.subarray(filled - readOffset, filled - readOffset + part));
      filled += part;
      runs += Math.ceil(part / runBytes);
      if (runs < SLICE_RUNS) continue;
      runs = 0;
      if (filled < end) yield;
    }
  }
  out.fill(0, filled - readOffset);
}

/** Bytes of a tensor's plan that are one piece of work: a row of its box, or what its source takes in one go. */
function runBytesOf({ runElements }: ReadPlan, { tensor, dtype, rows }: ReadTensor): number {
  const elements = tensor.policy === 'AVERAGE' ? runElements : RUN_ELEMENTS;
  return Math.min(elements, rows?.rowLength ?? elements) * DTYPE_BYTES[dtype];
}

/** Fills `out` with the bytes from `within` of one tensor, or of the box of it: row by row. */
function readTensor(plan: ReadPlan, { tensor, dtype, rows }: ReadTensor, within: number, out: Uint8Array): void {
  const size = DTYPE_BYTES[dtype];
  const isAveraged = tensor.policy === 'AVERAGE';
  const read = (element: number, part: Uint8Array): void => {
    if (isAveraged) plan.averaged(tensor.flat + element, part);
    else plan.copied(tensor.flat + element * size, part);
  };
  if (rows === undefined) {
    read(within / size, out);
    return;
  }
  visitRows(rows, rows.rowLength, within / size, out.length / size, (element, at, count) => {
    read(rows.start + element, out.subarray(at * size, (at + count) * size));
  });
}

/** Fills `out` with the elements of a plane from `flat`, cast to `dtype` where that is another one. */
export function readElements(
  table: PageTable,
  plane: Plane,
  flat: number,
  dtype: FloatDType | undefined,
  out: Uint8Array,
): void {
  const outBytes = dtype === undefined ? 1 : DTYPE_BYTES[dtype];
  const isCast = plane.dtype !== dtype;
  const room = isCast ? SCRATCH_BYTES / DTYPE_BYTES.F64 : plane.pageElements;
  let element = flat;
  for (let done = 0; done < out.length; ) {
    const page = pageAt(table, plane, element);
    const within = element % plane.pageElements;
    const count = Math.min((out.length - done) / outBytes, plane.pageElements - within, room);
    const address = page.address + within * plane.elementBytes;
    if (isCast) {
      assert(isFloatDType(plane.dtype) && dtype !== undefined, 'only floats are cast');
      page.arena.kernels.cast[plane.dtype][dtype](0, address, count);
    }
    out.set(page.arena.bytes(isCast ? 0 : address, count * outBytes), done);
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

/** Copies the elements of tensors, given by index, from one table to another, cast to its dtype, in slices. */
export function* copyElements(
  { tensors }: Layout,
  chosen: Iterable<number>,
  from: { readonly plane: Plane; readonly table: PageTable },
  to: { readonly plane: Plane; readonly table: PageTable },
): Generator<void> {
  const buffer = new Uint8Array(SCRATCH_BYTES);
  for (const tensor of chosen) {
    const [flat, count] = [tensors.flatOf(tensor), tensors.countOf(tensor)];
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
