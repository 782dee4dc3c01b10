import {
  ALIGNMENT_BYTES,
  alignedBytes,
  assert,
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
import type { Policy, TensorSpec } from './tensor-spec.js';

/** Tensors between two yields: under a millisecond. */
const SLICE_TENSORS = 1_024;

/**
 * Where a tensor lives. `flat` counts elements of the averaged space, or bytes of the copied space. Every tensor starts
 * where its own bytes would be aligned to 64, so that a wire of the same dtypes and the flat space run in step and
 * ten thousand small tensors fold like one large one.
 */
export interface PlacedTensor extends TensorSpec {
  readonly count: number;
  readonly bytes: number;
  readonly flat: number;
}

export interface Layout {
  readonly tensors: readonly PlacedTensor[];
  /** Length of the averaged space, elements. */
  readonly averagedLength: number;
  /** Length of the copied space, bytes, and of its first part, which each step writes: what is sent once is behind it. */
  readonly copiedLength: number;
  readonly copiedEachStepLength: number;
  /** Elements of averaged tensors, without gaps. */
  readonly averagedElements: number;
}

export function placeTensors(specs: readonly TensorSpec[]): Layout {
  return toEnd(placingTensors(specs));
}

/** Places tensors in the flat space. Yields between slices. */
export function* placingTensors(specs: readonly TensorSpec[]): Generator<void, Layout> {
  let averagedLength = 0;
  let averagedElements = 0;
  const copiedEachStepLength = copiedBytes(specs, 'COPY');
  let copied = 0;
  let copiedOnce = copiedEachStepLength;
  const tensors: PlacedTensor[] = [];
  for (const spec of specs) {
    if (tensors.length % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    const { name, dtype, shape, policy } = spec;
    const count = countOf(spec);
    const size = DTYPE_BYTES[dtype];
    const bytes = count * size;
    let flat = 0;
    if (policy === 'AVERAGE') {
      const alignment = ALIGNMENT_BYTES / size;
      flat = roundUp(averagedLength, alignment);
      averagedLength = flat + roundUp(count, alignment);
      averagedElements += count;
    } else if (policy === 'COPY') {
      flat = copied;
      copied += alignedBytes(bytes);
    } else if (policy === 'COPY_ONCE') {
      flat = copiedOnce;
      copiedOnce += alignedBytes(bytes);
    }
    tensors.push({ name, dtype, shape, policy, count, bytes, flat });
  }
  shareChoices(specs, tensors);
  return { tensors, averagedLength, copiedLength: copiedOnce, copiedEachStepLength, averagedElements };
}

function countOf({ shape }: TensorSpec): number {
  const count = elementCount(shape);
  assert(count !== undefined, 'shapes were checked');
  return count;
}

function copiedBytes(specs: readonly TensorSpec[], policy: Policy): number {
  let bytes = 0;
  for (const spec of specs) {
    if (spec.policy === policy) bytes += alignedBytes(countOf(spec) * DTYPE_BYTES[spec.dtype]);
  }
  return bytes;
}

/** The dtype in which a tensor's bytes travel on a stream whose averaged tensors travel as `wireDType`. */
export function wireDTypeOf(tensor: PlacedTensor, wireDType: FloatDType | undefined): DType {
  return tensor.policy === 'AVERAGE' && wireDType !== undefined ? wireDType : tensor.dtype;
}

/**
 * Compares a run's tensors with those of a request, which may have them in another order: then it is said where in the run
 * each of them is. Yields between slices. Throws LAYOUT_MISMATCH with the first difference.
 */
export function* compareTensors(
  run: string,
  ours: readonly TensorSpec[],
  theirs: readonly TensorSpec[],
): Generator<void, Uint32Array | undefined> {
  if (ours === theirs) return undefined;
  const order = yield* orderOf(run, ours, theirs);
  for (const [index, their] of theirs.entries()) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    checkSameTensor(
      run,
      order === undefined ? index : order[index]!,
      ours[order === undefined ? index : order[index]!]!,
      their,
    );
  }
  return order;
}

/** Where in the run each tensor of a request is; undefined: they are in the run's order. */
function* orderOf(
  run: string,
  ours: readonly TensorSpec[],
  theirs: readonly TensorSpec[],
): Generator<void, Uint32Array | undefined> {
  const count = Math.max(ours.length, theirs.length);
  let first = 0;
  while (first < count && ours[first]?.name === theirs[first]?.name) {
    first += 1;
    if (first % SLICE_TENSORS === 0) yield;
  }
  if (first === count) return undefined;
  const places = new Map<string, number>();
  for (const [index, { name }] of ours.entries()) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    places.set(name, index);
  }
  const order = new Uint32Array(theirs.length);
  for (const [index, { name }] of theirs.entries()) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    const place = places.get(name);
    if (place === undefined || ours.length !== theirs.length) {
      for (let at = 0; at < first; at++) checkSameTensor(run, at, ours[at]!, theirs[at]!);
      throw otherNames(run, first, ours[first], theirs[first]);
    }
    order[index] = place;
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
