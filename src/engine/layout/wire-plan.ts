import { alignedBytes, DTYPE_BYTES, type FloatDType, isFloatDType } from '../../common/index.js';
import { type Layout, wireDTypeOf } from './layout.js';
import { Segments } from './segments.js';

/** The place of one tensor's bytes in a byte space. */
export interface WireBox {
  /** The tensor's index in the layout. */
  readonly tensor: number;
  readonly stepOffset: number;
  readonly bytes: number;
}

/** The tensors that are sent, in the order of the byte space; those of policy COPY_ONCE are behind all others. */
export class WireBoxes {
  readonly #layout: Layout;
  readonly #wireDType: FloatDType | undefined;
  readonly #stepOffsets: Float64Array;
  readonly #tensor: Uint32Array;
  #count = 0;

  /** `stepOffsets` says where each tensor of the layout starts. */
  constructor(layout: Layout, wireDType: FloatDType | undefined, stepOffsets: Float64Array) {
    this.#layout = layout;
    this.#wireDType = wireDType;
    this.#stepOffsets = stepOffsets;
    this.#tensor = new Uint32Array(layout.tensors.length);
  }

  get count(): number {
    return this.#count;
  }

  stepOffsetAt(index: number): number {
    return this.#stepOffsets[this.#tensor[index]!]!;
  }

  /** A box as an object, made anew at each call. */
  at(index: number): WireBox {
    const tensor = this.#tensor[index]!;
    const dtype = wireDTypeOf(this.#layout, tensor, this.#wireDType);
    const bytes = this.#layout.tensors.countOf(tensor) * DTYPE_BYTES[dtype];
    return { tensor, stepOffset: this.#stepOffsets[tensor]!, bytes };
  }

  append(tensor: number): void {
    this.#tensor[this.#count++] = tensor;
  }
}

export interface WirePlan {
  readonly layout: Layout;
  readonly wireDType: FloatDType | undefined;
  /**
   * The segments in the order of the byte space. The tensors of policy COPY_ONCE have segments of their own, behind the
   * others.
   */
  readonly segments: Segments;
  readonly onceSegments: Segments;
  readonly boxes: WireBoxes;
  /** Where each tensor of the layout starts. The entry means nothing for a tensor that is not sent or has no bytes. */
  readonly stepOffsets: Float64Array;
  /** Length of the byte space without the tensors of policy COPY_ONCE, and with them: multiples of 64. */
  readonly stepBytes: number;
  readonly firstStepBytes: number;
}

/** Bytes of a plan's columns for each tensor, beside its segments. */
export const WIRE_COLUMN_BYTES = 4 + 8;

/** Tensors that are placed between two yields, by up to 16 averages: under a millisecond. */
const SLICE_TENSORS = 1_024;

/** Every average takes every tensor. */
const ALL_AVERAGES = -1;

/** Says which averages fold a tensor, given by its index in the layout. */
type AveragesOf = (tensor: number) => number;

/**
 * The byte space of a whole step, which is that of one writer that sends the whole layout. Neighbours that run in step,
 * and are folded into the same averages, become one segment. `averagesOf` says which those are; default all. Yields
 * between slices.
 */
export function* planningWire(
  layout: Layout,
  wireDType: FloatDType | undefined,
  averagesOf: AveragesOf = () => ALL_AVERAGES,
): Generator<void, WirePlan> {
  const { tensors } = layout;
  const stepOffsets = new Float64Array(tensors.length);
  const boxes = new WireBoxes(layout, wireDType, stepOffsets);
  let stepOffset = 0;
  const place = function* (isOnce: boolean): Generator<void, Segments> {
    const segments = new Segments();
    for (let tensor = 0; tensor < tensors.length; tensor++) {
      if (tensor % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
      const [policy, elements] = [tensors.policyOf(tensor), tensors.countOf(tensor)];
      if (policy === 'IGNORE' || elements === 0 || (policy === 'COPY_ONCE') !== isOnce) continue;
      const dtype = wireDTypeOf(layout, tensor, wireDType);
      const bytes = elements * DTYPE_BYTES[dtype];
      const isAveraged = policy === 'AVERAGE' && isFloatDType(dtype);
      segments.append({
        stepOffset,
        flat: tensors.flatOf(tensor),
        count: isAveraged ? elements : bytes,
        dtype: isAveraged ? dtype : undefined,
        averages: isAveraged ? averagesOf(tensor) : ALL_AVERAGES,
      });
      boxes.append(tensor);
      stepOffsets[tensor] = stepOffset;
      stepOffset += alignedBytes(bytes);
    }
    return segments;
  };
  const segments = yield* place(false);
  const stepBytes = stepOffset;
  const onceSegments = yield* place(true);
  return { layout, wireDType, segments, onceSegments, boxes, stepOffsets, stepBytes, firstStepBytes: stepOffset };
}

/** Lengths of a step in the layout's own dtypes: those of its plan, without the plan. */
export function stepLengths({ tensors }: Layout): Pick<WirePlan, 'stepBytes' | 'firstStepBytes'> {
  let stepBytes = 0;
  let onceBytes = 0;
  for (let tensor = 0; tensor < tensors.length; tensor++) {
    const policy = tensors.policyOf(tensor);
    const bytes = alignedBytes(tensors.countOf(tensor) * DTYPE_BYTES[tensors.dtypeOf(tensor)]);
    if (policy === 'COPY_ONCE') onceBytes += bytes;
    else if (policy !== 'IGNORE') stepBytes += bytes;
  }
  return { stepBytes, firstStepBytes: stepBytes + onceBytes };
}
