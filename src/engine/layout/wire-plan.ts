import { alignedBytes, DTYPE_BYTES, type FloatDType, isFloatDType } from '../../common/index.js';
import { type Layout, type PlacedTensor, wireDTypeOf } from './layout.js';

/** A contiguous piece of a byte space and of a flat space. */
export interface Segment {
  readonly wireOffset: number;
  readonly flat: number;
  /** Elements of the averaged space, or bytes of the copied one. */
  count: number;
  /** The elements' dtype on the wire, or undefined for copied bytes. */
  readonly dtype: FloatDType | undefined;
  /** Averages that fold it, a bit for each by its index in the run. */
  readonly averages: number;
}

/** Where one tensor's bytes lie. */
export interface WireBox {
  readonly tensor: PlacedTensor;
  readonly wireOffset: number;
  readonly bytes: number;
}

export interface WirePlan {
  readonly wireDType: FloatDType | undefined;
  /** In the order of the byte space, as are the boxes; the tensors of policy COPY_ONCE are behind all others. */
  readonly segments: readonly Segment[];
  readonly onceSegments: readonly Segment[];
  readonly boxes: readonly WireBox[];
  /** Where each tensor of the layout starts; one that is not sent, or has no bytes: anywhere. */
  readonly offsets: Float64Array;
  /** Length of the byte space without the tensors of policy COPY_ONCE, and with them: multiples of 64. */
  readonly stepBytes: number;
  readonly firstStepBytes: number;
}

/** Tensors that are placed between two yields, by up to 16 averages: under a millisecond. */
const SLICE_TENSORS = 1_024;

/** Every average takes every tensor. */
const ALL_AVERAGES = -1;

/** What says which averages fold a tensor. */
type AveragesOf = (tensor: PlacedTensor, index: number) => number;

/**
 * The byte space of a whole step, which is that of one writer that sends the whole layout. Neighbours that run in step, and are
 * folded into the same averages, become one segment. `averagesOf` says which those are; default all. Yields between slices.
 */
export function* planningWire(
  layout: Layout,
  wireDType: FloatDType | undefined,
  averagesOf: AveragesOf = () => ALL_AVERAGES,
): Generator<void, WirePlan> {
  const boxes: WireBox[] = [];
  const offsets = new Float64Array(layout.tensors.length);
  let wireOffset = 0;
  const place = function* (isOnce: boolean): Generator<void, Segment[]> {
    const segments: Segment[] = [];
    for (const [index, tensor] of layout.tensors.entries()) {
      if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
      if (tensor.policy === 'IGNORE' || tensor.count === 0 || (tensor.policy === 'COPY_ONCE') !== isOnce) continue;
      const dtype = wireDTypeOf(tensor, wireDType);
      const bytes = tensor.count * DTYPE_BYTES[dtype];
      const isAveraged = tensor.policy === 'AVERAGE' && isFloatDType(dtype);
      appendSegment(segments, {
        wireOffset,
        flat: tensor.flat,
        count: isAveraged ? tensor.count : bytes,
        dtype: isAveraged ? dtype : undefined,
        averages: isAveraged ? averagesOf(tensor, index) : ALL_AVERAGES,
      });
      boxes.push({ tensor, wireOffset, bytes });
      offsets[index] = wireOffset;
      wireOffset += alignedBytes(bytes);
    }
    return segments;
  };
  const segments = yield* place(false);
  const stepBytes = wireOffset;
  const onceSegments = yield* place(true);
  return { wireDType, segments, onceSegments, boxes, offsets, stepBytes, firstStepBytes: wireOffset };
}

/** Lengths of a step in the layout's own dtypes: those of its plan, without the plan. */
export function stepLengths({ tensors }: Layout): Pick<WirePlan, 'stepBytes' | 'firstStepBytes'> {
  let stepBytes = 0;
  let onceBytes = 0;
  for (const { policy, bytes } of tensors) {
    if (policy === 'COPY_ONCE') onceBytes += alignedBytes(bytes);
    else if (policy !== 'IGNORE') stepBytes += alignedBytes(bytes);
  }
  return { stepBytes, firstStepBytes: stepBytes + onceBytes };
}

/** Appends, or lengthens the last segment (over the gap between them too) when both spaces advance by the same count. */
function appendSegment(segments: Segment[], next: Segment): void {
  const last = segments.at(-1);
  if (last !== undefined && last.dtype === next.dtype && last.averages === next.averages) {
    const size = last.dtype === undefined ? 1 : DTYPE_BYTES[last.dtype];
    const advance = next.flat - last.flat;
    if (advance >= last.count && next.wireOffset - last.wireOffset === advance * size) {
      last.count = advance + next.count;
      return;
    }
  }
  segments.push(next);
}
