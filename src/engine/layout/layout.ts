import {
  ALIGNMENT_BYTES,
  alignedBytes,
  DTYPE_BYTES,
  type DType,
  elementCount,
  type FloatDType,
  quote,
  roundUp,
  ShadowkeepError,
  toEnd,
} from '../../common/index.js';
import { shareChoices } from './tensor-filter.js';
import type { Policy, TensorList, TensorSpec } from './tensor-spec.js';
import { TensorTable } from './tensor-table.js';

/** Tensors between two yields: under a millisecond. */
const SLICE_TENSORS = 1_024;

export interface Layout {
  readonly tensors: TensorTable;
  /** Length of the averaged space, elements. */
  readonly averagedLength: number;
  /** Length of the copied space, bytes, and of its first part, which each step writes: what is sent once is behind it. */
  readonly copiedLength: number;
  readonly copiedEachStepLength: number;
  /** Elements of averaged tensors, without gaps. */
  readonly averagedElements: number;
}

export function placeTensors(specs: TensorList): Layout {
  return toEnd(placingTensors(specs));
}

/** Places tensors in the flat space. Yields between slices. */
export function* placingTensors(specs: TensorList): Generator<void, Layout> {
  let averagedLength = 0;
  let averagedElements = 0;
  const copiedEachStepLength = copiedBytes(specs, 'COPY');
  let copied = 0;
  let copiedOnce = copiedEachStepLength;
  const tensors = yield* TensorTable.of(specs, ({ dtype, policy }, count) => {
    const size = DTYPE_BYTES[dtype];
    const bytes = alignedBytes(count * size);
    let flat = 0;
    if (policy === 'AVERAGE') {
      const alignment = ALIGNMENT_BYTES / size;
      flat = roundUp(averagedLength, alignment);
      averagedLength = flat + roundUp(count, alignment);
      averagedElements += count;
    } else if (policy === 'COPY') {
      flat = copied;
      copied += bytes;
    } else if (policy === 'COPY_ONCE') {
      flat = copiedOnce;
      copiedOnce += bytes;
    }
    return flat;
  });
  shareChoices(specs, tensors);
  return { tensors, averagedLength, copiedLength: copiedOnce, copiedEachStepLength, averagedElements };
}

function copiedBytes(specs: TensorList, ofPolicy: Policy): number {
  let bytes = 0;
  for (const { dtype, shape, policy } of specs) {
    if (policy === ofPolicy) bytes += alignedBytes((elementCount(shape) ?? 0) * DTYPE_BYTES[dtype]);
  }
  return bytes;
}

/** The dtype in which a tensor's bytes travel on a stream whose averaged tensors travel as `wireDType`. */
export function wireDTypeOf({ tensors }: Layout, tensor: number, wireDType: FloatDType | undefined): DType {
  return wireDType !== undefined && tensors.policyOf(tensor) === 'AVERAGE' ? wireDType : tensors.dtypeOf(tensor);
}

/**
 * Compares a run's tensors with those of a request, which may have them in another order: then it is said where in the
 * run each of them is. Yields between slices. Throws LAYOUT_MISMATCH with the first difference.
 */
export function* compareTensors(
  run: string,
  ours: TensorList,
  theirs: TensorList,
): Generator<void, Uint32Array | undefined> {
  if (ours === theirs) return undefined;
  const order = yield* orderOf(run, ours, theirs);
  let index = 0;
  for (const their of theirs) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    const our = order === undefined ? index : order[index]!;
    checkSameTensor(run, our, ours.at(our)!, their);
    index += 1;
  }
  return order;
}

/** Returns where in the run each tensor of a request is; undefined when the tensors are in the run's order. */
function* orderOf(run: string, ours: TensorList, theirs: TensorList): Generator<void, Uint32Array | undefined> {
  const count = Math.max(ours.length, theirs.length);
  let first = 0;
  while (first < count && ours.at(first)?.name === theirs.at(first)?.name) {
    first += 1;
    if (first % SLICE_TENSORS === 0) yield;
  }
  if (first === count) return undefined;
  const places = new Map<string, number>();
  for (const { name } of ours) {
    if (places.size % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    places.set(name, places.size);
  }
  const order = new Uint32Array(theirs.length);
  let index = 0;
  for (const { name } of theirs) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    const place = places.get(name);
    if (place === undefined || ours.length !== theirs.length) {
      for (let at = 0; at < first; at++) checkSameTensor(run, at, ours.at(at)!, theirs.at(at)!);
      throw otherNames(run, first, ours.at(first), theirs.at(first));
    }
    order[index++] = place;
  }
  return order;
}

/** The error that names the first tensors in which two layouts differ. */
function otherNames(
  run: string,
  index: number,
  our: TensorSpec | undefined,
  their: TensorSpec | undefined,
): ShadowkeepError {
  if (our === undefined) return mismatch(run, `tensor ${index} ${quote(their?.name ?? '')} is not in the run`, their);
  const what = their === undefined ? 'missing' : quote(their.name);
  return mismatch(run, `tensor ${index} ${quote(our.name)} is ${what} in the request`, our);
}

function checkSameTensor(run: string, index: number, our: TensorSpec, their: TensorSpec): void {
  const where = `tensor ${index} ${quote(our.name)}`;
  if (our.dtype !== their.dtype)
    throw mismatch(run, `${where} has dtype ${our.dtype}, ${their.dtype} in the request`, our);
  const isSameShape =
    our.shape.length === their.shape.length && our.shape.every((extent, dim) => extent === their.shape[dim]);
  if (!isSameShape) throw mismatch(run, `${where} has shape [${our.shape}], [${their.shape}] in the request`, our);
  if (our.policy !== their.policy) {
    throw mismatch(run, `${where} has policy ${our.policy}, ${their.policy} in the request`, our);
  }
}

function mismatch(run: string, problem: string, tensor: TensorSpec | undefined): ShadowkeepError {
  const metadata = { run, tensor: tensor?.name ?? '' };
  return new ShadowkeepError('LAYOUT_MISMATCH', `run ${quote(run)}: ${problem}`, { metadata });
}
