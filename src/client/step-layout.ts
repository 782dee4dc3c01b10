import { DTYPE_BYTES, elementCount, isFloatDType, namePattern } from '../common/index.js';
import { type Box as BoxMessage, layOut } from '../protocol/index.js';
import { boxMessage, invalidBox, placeBoxes } from './boxes.js';
import { protocolError } from './errors.js';
import type { OpenRunOptions, StepPart, TensorPolicy, TensorSpec } from './types.js';

/** The options of a run that decide which bytes a step has. */
export type LayoutOptions = Pick<OpenRunOptions, 'tensors' | 'policies' | 'wireDtype' | 'writers' | 'boxes'>;

/** The parts that a writer sends, in the order of its byte space. */
export interface StepLayout {
  /** All boxes that the writer has declared, in that order; undefined when it has declared none. */
  readonly declared: readonly StepPart[] | undefined;
  /** The parts that travel in each step. */
  readonly eachStep: readonly StepPart[];
  /** The parts of policy COPY_ONCE, which follow the others in each step until a step is committed. */
  readonly once: readonly StepPart[];
}

/**
 * The layout of a step, as the server computes it from the same request. Throws INVALID_FIELD for a box that is outside
 * of its tensor or in an ignored one.
 */
export function stepLayout(options: LayoutOptions): StepLayout {
  const tensors = resolveTensors(options);
  // A writer that declares no boxes sends nothing, unless it is the only one.
  const boxes = options.boxes ?? ((options.writers ?? 1) > 1 ? [] : undefined);
  if (boxes === undefined) return arrange(tensors.map(wholePart), undefined);
  const declared = placeBoxes(boxes, tensors).map(({ tensor, offset, extent }, boxIndex): StepPart => {
    if (tensor.policy === 'IGNORE') throw invalidBox(boxes[boxIndex]!, boxIndex, 'is of an ignored tensor');
    const bytes = elementCount(extent)! * DTYPE_BYTES[tensor.dtype];
    return { ...tensor, shape: extent, boxIndex, boxOffset: offset, globalShape: tensor.shape, bytes };
  });
  return arrange(declared, declared);
}

/** The layout without the boxes that another member of their replica group sends. */
export function withoutLeftOut(layout: StepLayout, leftOut: readonly number[]): StepLayout {
  if (leftOut.length === 0 || layout.declared === undefined) return layout;
  const others = new Set(leftOut);
  return arrange(
    layout.declared.filter(({ boxIndex }) => !others.has(boxIndex!)),
    layout.declared,
  );
}

/** Length of the byte space of these parts, bytes. */
export function spaceBytes(parts: readonly StepPart[]): number {
  return layOut(parts.map(({ bytes }) => bytes)).totalBytes;
}

/**
 * The messages of the boxes that the stream declares. `order` has the index in the run of each tensor of the options,
 * and is empty when both have the same order. With another order a writer of the whole layout declares each tensor as a
 * box, so that its steps keep the order of the options.
 */
export function openingBoxes(options: LayoutOptions, order: readonly number[]): BoxMessage[] {
  const { boxes, tensors, writers = 1 } = options;
  if (order.length > 0 && order.length !== tensors.length) {
    throw protocolError(`an order of ${order.length} tensors, of ${tensors.length}`);
  }
  const isWhole = boxes === undefined && writers === 1;
  if (isWhole && order.length === 0) return [];
  const declared = isWhole ? resolveTensors(options).filter(({ policy }) => policy !== 'IGNORE') : undefined;
  const placed = placeBoxes(declared?.map(({ name }) => ({ tensor: name })) ?? boxes ?? [], tensors);
  return placed.map((box) => boxMessage({ ...box, tensorIndex: order[box.tensorIndex] ?? box.tensorIndex }));
}

type ResolvedTensor = TensorSpec & { policy: TensorPolicy };

/**
 * The tensors with the dtype in which they travel and with their policy: the tensor's own, else that of the last rule
 * that matches, else the dtype's default.
 */
function resolveTensors({ tensors, policies = {}, wireDtype }: LayoutOptions): ResolvedTensor[] {
  const rules = Object.entries(policies).map(([pattern, policy]) => ({ matches: namePattern(pattern), policy }));
  return tensors.map((tensor) => {
    const ruled = rules.findLast(({ matches }) => matches(tensor.name))?.policy;
    const policy = tensor.policy ?? ruled ?? (isFloatDType(tensor.dtype) ? 'AVERAGE' : 'COPY');
    const dtype = policy === 'AVERAGE' && wireDtype !== undefined ? wireDtype : tensor.dtype;
    return { ...tensor, policy, dtype };
  });
}

function wholePart(tensor: ResolvedTensor): StepPart {
  // A shape with too many elements gives NaN here; the server refuses it when the run is opened.
  const bytes = elementCount(tensor.shape)! * DTYPE_BYTES[tensor.dtype];
  const boxOffset = tensor.shape.map(() => 0);
  return { ...tensor, boxIndex: undefined, boxOffset, globalShape: tensor.shape, bytes };
}

function arrange(parts: readonly StepPart[], declared: readonly StepPart[] | undefined): StepLayout {
  return {
    declared,
    eachStep: parts.filter(({ policy }) => policy === 'AVERAGE' || policy === 'COPY'),
    once: parts.filter(({ policy }) => policy === 'COPY_ONCE'),
  };
}
