/** Bytes of an element: all weights are float32. */
export const ELEMENT_BYTES = 4;

/** Each box begins at a multiple of this in its writer's byte space. */
const ALIGNMENT_BYTES = 64;

const SMALL_ELEMENTS_MAX = 1023;
/** Shapes of the large tensors, the same as in bench/peers/weights.py. */
const LARGE_SHAPES = [
  [2048, 2048],
  [2048, 2048],
  [2048, 5632],
  [5632, 2048],
  [1024, 1024],
  [3, 1000, 257],
];

/** A generator of numbers from 0 to 1, which are the same in each run of a benchmark (Lehmer's generator). */
function chances(seed) {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** The shapes of a model of `totalBytes` bytes, with `smallCount` tensors under 4 KiB between large ones. */
export function mixedShapes(totalBytes, smallCount) {
  const chance = chances(20_260_203);
  const small = Array.from({ length: smallCount }, () => [1 + Math.floor(chance() * SMALL_ELEMENTS_MAX)]);
  const large = [];
  for (let rest = totalBytes / ELEMENT_BYTES - small.flat().reduce((sum, size) => sum + size, 0); rest > 0; ) {
    const shape = LARGE_SHAPES[large.length % LARGE_SHAPES.length];
    const fits = elementsOf(shape) <= rest;
    large.push(fits ? shape : [rest]);
    rest -= fits ? elementsOf(shape) : rest;
  }
  const until = (index) => Math.floor((index * smallCount) / large.length);
  return large.flatMap((shape, index) => [shape, ...small.slice(until(index), until(index + 1))]);
}

export function equalShapes(count, shape) {
  return Array.from({ length: count }, () => shape);
}

export function elementsOf(shape) {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** The boxes of one of `writers` writers, who share the rows of each tensor evenly. With few rows some are empty. */
export function rowShards(shapes, writer, writers) {
  return shapes.map(([rows, ...rest], tensor) => {
    const begin = Math.floor((rows * writer) / writers);
    const end = Math.floor((rows * (writer + 1)) / writers);
    return { tensor, offset: [begin, ...rest.map(() => 0)], extent: [end - begin, ...rest] };
  });
}

/** Length of the byte space of boxes or whole tensors with these extents, bytes. */
export function spaceBytes(extents) {
  const aligned = extents.map((extent) => Math.ceil((elementsOf(extent) * ELEMENT_BYTES) / ALIGNMENT_BYTES));
  return aligned.reduce((sum, units) => sum + units, 0) * ALIGNMENT_BYTES;
}
