import type { BoxSpec } from '../../src/client/index.js';

/** The elements of a box, one after another, copied in the plain way, element by element. */
export function cutBox(
  values: Float32Array,
  shape: readonly number[],
  { offset = shape.map(() => 0), extent = shape }: Pick<BoxSpec, 'offset' | 'extent'>,
): Float32Array {
  const cut: number[] = [];
  const visit = (dimension: number, at: number) => {
    if (dimension === shape.length) {
      cut.push(values[at]!);
      return;
    }
    for (let index = 0; index < extent[dimension]!; index += 1) {
      visit(dimension + 1, at * shape[dimension]! + offset[dimension]! + index);
    }
  };
  visit(0, 0);
  return Float32Array.from(cut);
}
