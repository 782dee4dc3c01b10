import { DTYPE_BYTES } from '../../../src/common/index.js';
import { wireDTypeOf } from '../../../src/engine/layout/layout.js';
import type { WirePlan } from '../../../src/engine/layout/wire-plan.js';
import type { Box } from '../../../src/engine/world/index.js';

/** A source of uint32 values. */
export type Random = () => number;

/** A box of a tensor of index 0. */
export function box(offset: readonly number[], extent: readonly number[], rest: Partial<Box> = {}): Box {
  return { tensor: 0, offset, extent, replicaGroup: 0, ...rest };
}

/** The row-major indices of a box's elements in its tensor, in the box's own row-major order. */
export function elementsOf(shape: readonly number[], { offset, extent }: Pick<Box, 'offset' | 'extent'>): number[] {
  const isWhole = extent.length === 0;
  return shape.reduce<number[]>(
    (indices, length, dim) => {
      const [from, count] = isWhole ? [0, length] : [offset[dim]!, extent[dim]!];
      return indices.flatMap((index) => Array.from({ length: count }, (_, i) => index * length + from + i));
    },
    [0],
  );
}

/** A box anywhere in a tensor; it may be empty. */
export function randomBox(shape: readonly number[], random: Random): Pick<Box, 'offset' | 'extent'> {
  const offset = shape.map((length) => random() % (length + 1));
  return { offset, extent: shape.map((length, dim) => random() % (length - offset[dim]! + 1)) };
}

/** Boxes that tile a tensor: it is cut in two, and each piece again, in any dimension; pieces may be empty. */
export function randomTiling(shape: readonly number[], random: Random, depth = 4): Pick<Box, 'offset' | 'extent'>[] {
  const cut = (
    offset: readonly number[],
    extent: readonly number[],
    left: number,
  ): Pick<Box, 'offset' | 'extent'>[] => {
    if (left === 0 || extent.length === 0 || random() % 4 === 0) return [{ offset, extent }];
    const dim = random() % extent.length;
    const at = random() % (extent[dim]! + 1);
    return [
      ...cut(offset, extent.with(dim, at), left - 1),
      ...cut(offset.with(dim, offset[dim]! + at), extent.with(dim, extent[dim]! - at), left - 1),
    ];
  };
  return cut(
    shape.map(() => 0),
    shape,
    depth,
  );
}

export function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

/** By byte of a writer's space: where it belongs in that of the whole step; -1 in a gap. Copied element by element. */
export function targetsOf(
  boxes: readonly Box[],
  plan: WirePlan,
): { readonly targets: number[]; readonly stepBytes: number } {
  const targets: number[] = [];
  const place = (isOnce: boolean): number => {
    for (const one of boxes) {
      const tensor = plan.layout.tensors.at(one.tensor)!;
      if ((tensor.policy === 'COPY_ONCE') !== isOnce) continue;
      const size = DTYPE_BYTES[wireDTypeOf(plan.layout, one.tensor, plan.wireDType)];
      const start = plan.stepOffsets[one.tensor]!;
      for (const element of elementsOf(tensor.shape, one)) {
        for (let byte = 0; byte < size; byte++) targets.push(start + element * size + byte);
      }
      while (targets.length % 64 !== 0) targets.push(-1);
    }
    return targets.length;
  };
  const stepBytes = place(false);
  place(true);
  return { targets, stepBytes };
}

/** What is sent of a step, by where each byte of it belongs. */
export function partOf(whole: Uint8Array, targets: readonly number[]): Buffer {
  return Buffer.from(targets.map((target) => (target < 0 ? 0 : whole[target]!)));
}
