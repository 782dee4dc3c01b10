import { DTYPE_BYTES, type FloatDType } from '../../../src/common/index.js';
import type { TensorSpec } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import type { ListedSpec } from '../fixtures.js';
import { countOf, inWireOrder, wireOf } from '../model/naive-run.js';
import type { Random } from '../model/random.js';

/*
 * Who holds what: boxes dealt out at random, and the plainest account of them, element by element.
 */

/** Scalars, empty tensors, and up to four dimensions. */
export function sampleShape(random: Random): number[] {
  if (random.oneIn(8)) return [];
  if (random.oneIn(12)) return [random.below(3), 0, 2];
  const most = [140, 16, 8, 5];
  const rank = random.between(1, 4);
  return Array.from({ length: rank }, () => random.between(1, most[rank - 1]!));
}

/** The boxes of each writer, in the order in which it declares them: together every element once. */
export function dealBoxes(random: Random, tensors: readonly TensorSpec[], writerCount: number): Box[][] {
  const dealt = Array.from({ length: writerCount }, (): Box[] => []);
  const writer = (): Box[] => random.pick(dealt);
  for (const [tensor, { shape, policy }] of tensors.entries()) {
    if (policy === 'IGNORE') continue;
    for (const place of random.oneIn(4) ? [wholeOf(random, shape)] : cut(random, shape)) {
      const replicaGroup = random.oneIn(4) ? random.between(1, 3) : 0;
      const box = { tensor, ...place, replicaGroup };
      if (replicaGroup === 0) writer().push(box);
      else for (const holder of new Set([writer(), writer(), writer()])) holder.push({ ...box });
    }
    if (shape.length > 0 && random.oneIn(4)) writer().push({ tensor, ...emptyIn(random, shape), replicaGroup: 0 });
  }
  // In the order of the layout, neighbours may be sent as one.
  return random.oneIn(2) ? dealt : dealt.map((boxes) => shuffled(random, boxes));
}

type Place = Pick<Box, 'offset' | 'extent'>;

/** Said in one of the two ways. */
function wholeOf(random: Random, shape: readonly number[]): Place {
  return random.oneIn(2) ? { offset: [], extent: [] } : { offset: shape.map(() => 0), extent: shape };
}

/** Cuts a tensor, and what comes of it, again and again. */
function cut(random: Random, shape: readonly number[]): Place[] {
  const places: Place[] = [{ offset: shape.map(() => 0), extent: shape }];
  for (let left = random.below(9); left > 0; left--) {
    const at = random.below(places.length);
    const { offset, extent } = places[at]!;
    const dims = extent.flatMap((count, dim) => (count > 1 ? [dim] : []));
    if (dims.length === 0) continue;
    const dim = random.pick(dims);
    const first = random.between(1, extent[dim]! - 1);
    places[at] = { offset, extent: extent.with(dim, first) };
    places.push({ offset: offset.with(dim, offset[dim]! + first), extent: extent.with(dim, extent[dim]! - first) });
  }
  return places;
}

function emptyIn(random: Random, shape: readonly number[]): Place {
  const offset = shape.map((count) => random.between(0, count));
  const extent = shape.map((count, dim) => random.between(0, count - offset[dim]!));
  return { offset, extent: extent.with(random.below(shape.length), 0) };
}

function shuffled<Item>(random: Random, items: readonly Item[]): Item[] {
  const left = [...items];
  return items.map(() => left.splice(random.below(left.length), 1)[0]!);
}

/** The same boxes but for one: it is gone, there twice, or a little smaller. */
export function spoilBoxes(random: Random, dealt: readonly (readonly Box[])[]): Box[][] {
  const spoilt = dealt.map((boxes) => [...boxes]);
  const holders = spoilt.filter((boxes) => boxes.length > 0);
  if (holders.length === 0) return spoilt;
  const boxes = random.pick(holders);
  const at = random.below(boxes.length);
  const box = boxes[at]!;
  const dims = box.extent.flatMap((count, dim) => (count > 0 ? [dim] : []));
  if (random.oneIn(3)) boxes.splice(at, 1);
  else if (random.oneIn(2) || dims.length === 0)
    random.pick(spoilt).push({ ...box, replicaGroup: random.below(2) * 9 });
  else {
    const dim = random.pick(dims);
    boxes[at] = { ...box, extent: box.extent.with(dim, box.extent[dim]! - 1) };
  }
  return spoilt;
}

/** Two boxes with the same key are one that several hold. */
export function keyOf({ tensor, replicaGroup, ...place }: Box, { shape }: TensorSpec): string {
  const { offset, extent } = explicit(place, shape);
  return [tensor, replicaGroup, '|', ...offset, '|', ...extent].join();
}

/** The first element that is not in exactly one box. */
export function faultOf(
  tensors: readonly TensorSpec[],
  declared: readonly (readonly Box[])[],
): { tensor: string; element: string; boxCount: number } | undefined {
  const counts = tensors.map((tensor) => new Array<number>(tensor.policy === 'IGNORE' ? 0 : countOf(tensor)).fill(0));
  const holders = new Map<string, Set<number>>();
  for (const [writer, boxes] of declared.entries()) {
    for (const box of boxes) {
      const tensor = tensors[box.tensor]!;
      const held = holders.get(keyOf(box, tensor));
      const isReplica = box.replicaGroup !== 0 && held !== undefined && !held.has(writer);
      holders.set(keyOf(box, tensor), new Set([...(held ?? []), writer]));
      if (!isReplica) for (const element of elementsOf(box, tensor.shape)) counts[box.tensor]![element]! += 1;
    }
  }
  for (const [index, { name, shape }] of tensors.entries()) {
    let flat = counts[index]!.findIndex((count) => count !== 1);
    if (flat < 0) continue;
    const boxCount = counts[index]![flat]!;
    const element: number[] = [];
    for (const extent of shape.toReversed()) {
      element.unshift(flat % extent);
      flat = Math.floor(flat / extent);
    }
    return { tensor: name, element: element.join(), boxCount };
  }
  return undefined;
}

function explicit({ offset, extent }: Place, shape: readonly number[]): Place {
  return extent.length === 0 ? { offset: shape.map(() => 0), extent: shape } : { offset, extent };
}

/** The elements of a box, row-major within it, by their row-major index in the tensor. */
export function elementsOf(place: Place, shape: readonly number[]): number[] {
  const { offset, extent } = explicit(place, shape);
  const elements: number[] = [];
  const visit = (dim: number, before: number): void => {
    if (dim === shape.length) {
      elements.push(before);
      return;
    }
    for (let index = 0; index < extent[dim]!; index++) visit(dim + 1, before * shape[dim]! + offset[dim]! + index);
  };
  visit(0, 0);
  return elements;
}

/** What one writer sends. */
export interface NaivePart {
  /** By byte of its step: where that is in the byte space of the whole step; -1: a gap. */
  readonly sources: readonly number[];
  readonly stepBytes: number;
}

/** `boxes` undefined: the whole layout. */
export function partOf(
  { tensors }: ListedSpec,
  wireDType: FloatDType | undefined,
  boxes: readonly Box[] | undefined,
): NaivePart {
  const starts = new Map<TensorSpec, number>();
  let end = 0;
  for (const tensor of inWireOrder(tensors)) {
    starts.set(tensor, end);
    end += Math.ceil((countOf(tensor) * DTYPE_BYTES[wireOf(tensor, wireDType)]) / 64) * 64;
  }
  const sent =
    boxes ?? [...starts.keys()].map((tensor) => ({ tensor: tensors.indexOf(tensor), offset: [], extent: [] }));
  const sources: number[] = [];
  const send = (isOnce: boolean): void => {
    for (const box of sent) {
      const tensor = tensors[box.tensor]!;
      if ((tensor.policy === 'COPY_ONCE') !== isOnce) continue;
      const size = DTYPE_BYTES[wireOf(tensor, wireDType)];
      for (const element of elementsOf(box, tensor.shape)) {
        for (let byte = 0; byte < size; byte++) sources.push(starts.get(tensor)! + element * size + byte);
      }
      while (sources.length % 64 !== 0) sources.push(-1);
    }
  };
  send(false);
  const stepBytes = sources.length;
  send(true);
  return { sources, stepBytes };
}

/** Its bytes of a step. */
export function bytesOf({ sources, stepBytes }: NaivePart, space: Buffer, withOnce: boolean): Buffer {
  const bytes = Buffer.alloc(withOnce ? sources.length : stepBytes);
  for (let at = 0; at < bytes.length; at++) bytes[at] = sources[at] === -1 ? 0 : space[sources[at]!]!;
  return bytes;
}
