import {
  ALIGNMENT_BYTES,
  alignedBytes,
  assert,
  DTYPE_BYTES,
  type DType,
  elementCount,
  type FloatDType,
  isFloatDType,
  quote,
  roundUp,
  ShadowkeepError,
} from '../common/index.js';

export type Policy = 'AVERAGE' | 'COPY' | 'IGNORE';

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
  /** Length of the copied space, bytes. */
  readonly copiedLength: number;
  /** Elements of averaged tensors, without gaps. */
  readonly averagedElements: number;
}

export function placeTensors(specs: readonly TensorSpec[]): Layout {
  let averagedLength = 0;
  let copiedLength = 0;
  let averagedElements = 0;
  const tensors = specs.map((spec): PlacedTensor => {
    const count = elementCount(spec.shape);
    assert(count !== undefined, 'shapes were checked');
    const size = DTYPE_BYTES[spec.dtype];
    const placed = { ...spec, count, bytes: count * size };
    if (spec.policy === 'IGNORE') return { ...placed, flat: 0 };
    if (spec.policy === 'COPY') {
      const flat = copiedLength;
      copiedLength += alignedBytes(placed.bytes);
      return { ...placed, flat };
    }
    const alignment = ALIGNMENT_BYTES / size;
    const flat = roundUp(averagedLength, alignment);
    averagedLength = flat + roundUp(count, alignment);
    averagedElements += count;
    return { ...placed, flat };
  });
  return { tensors, averagedLength, copiedLength, averagedElements };
}

/** The dtype in which a tensor's bytes travel on a stream whose averaged tensors travel as `wireDType`. */
export function wireDTypeOf(tensor: PlacedTensor, wireDType: FloatDType | undefined): DType {
  return tensor.policy === 'AVERAGE' && wireDType !== undefined ? wireDType : tensor.dtype;
}

/** A contiguous piece of a byte space and of a flat space. */
export interface Segment {
  readonly wireOffset: number;
  readonly flat: number;
  /** Elements of the averaged space, or bytes of the copied one. */
  count: number;
  /** The elements' dtype on the wire, or undefined for copied bytes. */
  readonly dtype: FloatDType | undefined;
}

export interface WirePlan {
  readonly segments: readonly Segment[];
  /** Length of the byte space: a multiple of 64. */
  readonly totalBytes: number;
}

/** The byte space of one writer that sends the whole layout. Neighbours that run in step become one segment. */
export function planWire(layout: Layout, wireDType: FloatDType | undefined): WirePlan {
  const segments: Segment[] = [];
  let wireOffset = 0;
  for (const tensor of layout.tensors) {
    if (tensor.policy === 'IGNORE' || tensor.count === 0) continue;
    const dtype = wireDTypeOf(tensor, wireDType);
    const bytes = tensor.count * DTYPE_BYTES[dtype];
    const copied = tensor.policy === 'COPY';
    appendSegment(segments, {
      wireOffset,
      flat: tensor.flat,
      count: copied ? bytes : tensor.count,
      dtype: copied || !isFloatDType(dtype) ? undefined : dtype,
    });
    wireOffset += alignedBytes(bytes);
  }
  return { segments, totalBytes: wireOffset };
}

/** Appends, or lengthens the last segment (over the gap between them too) when both spaces advance by the same count. */
function appendSegment(segments: Segment[], next: Segment): void {
  const last = segments.at(-1);
  if (last !== undefined && last.dtype === next.dtype) {
    const size = last.dtype === undefined ? 1 : DTYPE_BYTES[last.dtype];
    const advance = next.flat - last.flat;
    if (advance >= last.count && next.wireOffset - last.wireOffset === advance * size) {
      last.count = advance + next.count;
      return;
    }
  }
  segments.push(next);
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
