import {
  alignedBytes,
  assert,
  DTYPE_BYTES,
  type DType,
  type FloatDType,
  isFloatDType,
  type Precision,
} from '../common/index.js';
import { SCRATCH_BYTES } from './arena.js';
import type { Layout, PlacedTensor } from './layout.js';
import type { Plane } from './plane.js';
import type { Version } from './version.js';

/** A tensor of a read, and where its bytes start in the read's byte space. */
export interface ReadTensor {
  readonly tensor: PlacedTensor;
  readonly dtype: DType;
  readonly offset: number;
  readonly bytes: number;
}

/** What a reader gets: which plane, which tensors, in which dtype. */
export interface ReadPlan {
  readonly tensors: readonly ReadTensor[];
  readonly totalBytes: number;
  readonly averagedPlane: number;
  readonly copiedPlane: number;
  readonly planes: readonly Plane[];
}

/** Plans the read of `tensors` of the average at `averageIndex`; averaged ones are cast to `dtype` where it is given. */
export function planRead(
  layout: Layout,
  planes: readonly Plane[],
  averageIndex: number,
  isWanted: (name: string) => boolean,
  dtype: FloatDType | undefined,
): ReadPlan {
  const precision = planes[averageIndex]?.precision;
  assert(precision !== undefined, 'each average has a plane of its precision');
  let offset = 0;
  const tensors: ReadTensor[] = [];
  for (const tensor of layout.tensors) {
    if (tensor.policy === 'IGNORE' || !isWanted(tensor.name)) continue;
    const as = tensor.policy === 'AVERAGE' ? (dtype ?? precision) : tensor.dtype;
    const bytes = tensor.count * DTYPE_BYTES[as];
    tensors.push({ tensor, dtype: as, offset, bytes });
    offset += alignedBytes(bytes);
  }
  return { tensors, totalBytes: offset, averagedPlane: averageIndex, copiedPlane: planes.length - 1, planes };
}

/**
 * Fills `target` with the bytes from `offset` of the byte space of a plan, gaps with zeros. `offset` and the length are
 * multiples of 16 (the last piece ends with the space), so no element is cut. The version must be pinned.
 */
export function readBytes(version: Version, plan: ReadPlan, offset: number, target: Uint8Array): void {
  const end = offset + target.length;
  let filled = offset;
  for (let index = firstTensorAt(plan.tensors, offset); index < plan.tensors.length; index++) {
    const entry = plan.tensors[index];
    if (entry === undefined || entry.offset >= end) break;
    const from = Math.max(entry.offset, offset);
    const to = Math.min(entry.offset + entry.bytes, end);
    if (to <= from) continue;
    target.fill(0, filled - offset, from - offset);
    readTensor(version, plan, entry, from - entry.offset, target.subarray(from - offset, to - offset));
    filled = to;
  }
  target.fill(0, filled - offset);
}

/** Fills `target` with the bytes from `offset` of one tensor. */
export function readTensor(
  version: Version,
  plan: ReadPlan,
  entry: ReadTensor,
  offset: number,
  target: Uint8Array,
): void {
  const isAveraged = entry.tensor.policy === 'AVERAGE';
  const planeIndex = isAveraged ? plan.averagedPlane : plan.copiedPlane;
  const plane = plan.planes[planeIndex];
  const table = version.tables[planeIndex];
  assert(plane !== undefined && table !== undefined, 'a version has one table per plane');
  const outBytes = isAveraged ? DTYPE_BYTES[entry.dtype] : 1;
  const cast =
    plane.precision !== undefined && entry.dtype !== plane.precision ? castTo(plane.precision, entry.dtype) : undefined;
  let flat = entry.tensor.flat + offset / outBytes;
  for (let done = 0; done < target.length; ) {
    const page = table[Math.floor(flat / plane.pageElements)];
    assert(page !== undefined, 'a tensor lies inside its plane');
    const within = flat % plane.pageElements;
    const room = cast === undefined ? plane.pageElements : SCRATCH_BYTES / DTYPE_BYTES.F64;
    const count = Math.min((target.length - done) / outBytes, plane.pageElements - within, room);
    const address = page.address + within * plane.elementBytes;
    if (cast !== undefined) page.arena.kernels.cast[cast.from][cast.to](0, address, count);
    target.set(page.arena.bytes(cast === undefined ? address : 0, count * outBytes), done);
    flat += count;
    done += count * outBytes;
  }
}

/** Puts saved bytes of one tensor back, in the plane's own precision; the version is not yet seen by anybody. */
export function writeTensor(version: Version, plane: Plane, planeIndex: number, flat: number, data: Uint8Array): void {
  const table = version.tables[planeIndex];
  for (let done = 0; done < data.length; ) {
    const element = flat + done / plane.elementBytes;
    const page = table?.[Math.floor(element / plane.pageElements)];
    assert(page !== undefined, 'a tensor lies inside its plane');
    const within = (element % plane.pageElements) * plane.elementBytes;
    const count = Math.min(data.length - done, plane.pageElements * plane.elementBytes - within);
    page.arena.bytes(page.address + within, count).set(data.subarray(done, done + count));
    done += count;
  }
}

function castTo(from: Precision, to: DType): { from: Precision; to: FloatDType } {
  assert(isFloatDType(to), 'averaged tensors are cast to floats');
  return { from, to };
}

/** Index of the last tensor that starts at or before `offset`: binary search, because a read asks for each chunk. */
function firstTensorAt(tensors: readonly ReadTensor[], offset: number): number {
  let low = 0;
  let high = tensors.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((tensors[middle]?.offset ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  // Empty tensors share the offset of their neighbour: any of them may be found, none has bytes.
  return Math.max(0, low - 1);
}
