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
} from '../common/index.js';

export type Policy = 'AVERAGE' | 'COPY' | 'COPY_ONCE' | 'IGNORE';

/** A tensor of a run, as declared: checked names, dtypes and extents. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly policy: Policy;
}

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
  let averagedLength = 0;
  let averagedElements = 0;
  const copiedEachStepLength = copiedBytes(specs, 'COPY');
  const next = { COPY: 0, COPY_ONCE: copiedEachStepLength };
  const tensors = specs.map((spec): PlacedTensor => {
    const count = countOf(spec);
    const size = DTYPE_BYTES[spec.dtype];
    const placed = { ...spec, count, bytes: count * size };
    if (spec.policy === 'IGNORE') return { ...placed, flat: 0 };
    if (spec.policy !== 'AVERAGE') {
      const flat = next[spec.policy];
      next[spec.policy] += alignedBytes(placed.bytes);
      return { ...placed, flat };
    }
    const alignment = ALIGNMENT_BYTES / size;
    const flat = roundUp(averagedLength, alignment);
    averagedLength = flat + roundUp(count, alignment);
    averagedElements += count;
    return { ...placed, flat };
  });
  return { tensors, averagedLength, copiedLength: next.COPY_ONCE, copiedEachStepLength, averagedElements };
}

function countOf({ shape }: TensorSpec): number {
  const count = elementCount(shape);
  assert(count !== undefined, 'shapes were checked');
  return count;
}

function copiedBytes(specs: readonly TensorSpec[], policy: Policy): number {
  return specs
    .filter((spec) => spec.policy === policy)
    .reduce((sum, spec) => sum + alignedBytes(countOf(spec) * DTYPE_BYTES[spec.dtype]), 0);
}

/** The dtype in which a tensor's bytes travel on a stream whose averaged tensors travel as `wireDType`. */
export function wireDTypeOf(tensor: PlacedTensor, wireDType: FloatDType | undefined): DType {
  return tensor.policy === 'AVERAGE' && wireDType !== undefined ? wireDType : tensor.dtype;
}

/** Throws LAYOUT_MISMATCH with the first difference between a run's tensors and the ones of a request. */
export function checkSameTensors(run: string, ours: readonly TensorSpec[], theirs: readonly TensorSpec[]): void {
  const mismatch = (problem: string, tensor: string): ShadowkeepError => {
    return new ShadowkeepError('LAYOUT_MISMATCH', `run ${quote(run)}: ${problem}`, { metadata: { run, tensor } });
  };
  for (const [index, our] of ours.entries()) {
    const their = theirs[index];
    if (their === undefined) throw mismatch(`tensor ${index} ${quote(our.name)} is missing in the request`, our.name);
    const where = `tensor ${index} ${quote(our.name)}`;
    if (our.name !== their.name) throw mismatch(`${where} is ${quote(their.name)} in the request`, our.name);
    if (our.dtype !== their.dtype)
      throw mismatch(`${where} has dtype ${our.dtype}, ${their.dtype} in the request`, our.name);
    if (our.shape.join() !== their.shape.join()) {
      throw mismatch(`${where} has shape [${our.shape}], [${their.shape}] in the request`, our.name);
    }
    if (our.policy !== their.policy) {
      throw mismatch(`${where} has policy ${our.policy}, ${their.policy} in the request`, our.name);
    }
  }
  const extra = theirs[ours.length];
  if (extra !== undefined) throw mismatch(`tensor ${ours.length} ${quote(extra.name)} is not in the run`, extra.name);
}
