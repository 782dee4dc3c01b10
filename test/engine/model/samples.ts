import {
  AVERAGE_DEFAULTS,
  DTYPE_BYTES,
  type DType,
  FLOAT_DTYPES,
  type FloatDType,
  isFloatDType,
} from '../../../src/common/index.js';
import type { Start } from '../../../src/engine/averages/index.js';
import type { AverageSpec, Policy, TensorSpec } from '../../../src/engine/index.js';
import type { ListedSpec } from '../fixtures.js';
import { countOf, inWireOrder, wireOf } from './naive-run.js';
import type { Random } from './random.js';

const DTYPES = Object.keys(DTYPE_BYTES) as DType[];
const STARTS: readonly Start[] = ['ZEROS', 'INITIAL', 'FIRST'];
const DECAYS = [0, 0.5, 0.9, 0.999, 0.9999, 1];

/** Elements of a tensor that spreads over several pages and arenas. */
const LARGE_COUNT_MAX = 9_000;

/** What tensors are like. */
interface Sizes {
  readonly shape: (random: Random) => number[];
  readonly largeCountMax: number;
}

export function sampleSpec(
  random: Random,
  name: string,
  sizes: Sizes = { shape: sampleShape, largeCountMax: LARGE_COUNT_MAX },
): ListedSpec {
  return random.oneIn(3) ? sampleAlike(random, name, sizes) : sampleAny(random, name, sizes);
}

/** All tensors averaged, in the dtype of the only shadow: such a step is folded as it arrives. */
function sampleAlike(random: Random, name: string, sizes: Sizes): ListedSpec {
  const dtype = random.pick(['F32', 'F32', 'F64'] as const);
  const shapes = Array.from({ length: random.between(1, 5) }, () => sizes.shape(random));
  if (random.oneIn(2)) shapes.push([random.between(1, sizes.largeCountMax)]);
  const tensors = shapes.map((shape, index): TensorSpec => ({ name: `t${index}`, dtype, shape, policy: 'AVERAGE' }));
  const average = { ...sampleAverage(random, 'a0'), precision: dtype, include: [], exclude: [] };
  const nonFinite = random.pick(['ACCEPT', 'REJECT_STEP', 'SKIP_TENSOR'] as const);
  return { name, tensors, averages: [average], nonFinite, snapshots: undefined, retain: undefined };
}

function sampleAny(random: Random, name: string, sizes: Sizes): ListedSpec {
  const tensors = Array.from({ length: random.between(1, 7) }, (_, index) => sampleTensor(random, `t${index}`, sizes));
  if (random.oneIn(3)) {
    const shape = [random.between(1, sizes.largeCountMax)];
    tensors.push({
      name: 'large',
      dtype: random.pick(FLOAT_DTYPES),
      shape,
      policy: random.oneIn(4) ? 'COPY' : 'AVERAGE',
    });
  }
  const averages = Array.from({ length: random.between(1, 3) }, (_, index) => sampleAverage(random, `a${index}`));
  const nonFinite = random.pick(['ACCEPT', 'ACCEPT', 'REJECT_STEP', 'SKIP_TENSOR'] as const);
  return { name, tensors, averages, nonFinite, snapshots: undefined, retain: undefined };
}

function sampleTensor(random: Random, name: string, sizes: Sizes): TensorSpec {
  const dtype = random.oneIn(3) ? random.pick(DTYPES) : random.pick(FLOAT_DTYPES);
  const policies: Policy[] = isFloatDType(dtype)
    ? ['AVERAGE', 'AVERAGE', 'AVERAGE', 'AVERAGE', 'COPY', 'COPY_ONCE', 'IGNORE']
    : ['COPY', 'COPY', 'COPY_ONCE', 'IGNORE'];
  return { name, dtype, shape: sizes.shape(random), policy: random.pick(policies) };
}

/** Scalars, empty tensors, and extents around the alignment of 64 bytes. */
function sampleShape(random: Random): number[] {
  if (random.oneIn(6)) return [];
  if (random.oneIn(6)) return [random.below(3), 0, 2];
  return random.oneIn(2) ? [random.between(1, 140)] : [random.between(1, 12), random.between(1, 12)];
}

function sampleAverage(random: Random, name: string): AverageSpec {
  const schedule = random.oneIn(3)
    ? ({ kind: 'mean' } as const)
    : ({ kind: 'constant', decay: random.pick(DECAYS) } as const);
  const precision = random.oneIn(3) ? 'F64' : 'F32';
  const rule = { ...AVERAGE_DEFAULTS, name, schedule, start: random.pick(STARTS), precision } as const;
  if (random.oneIn(2)) return rule;
  const every = random.between(1, 3);
  return {
    ...rule,
    every,
    everyOffset: random.below(every),
    delayUpdates: random.below(4),
    delayMode: random.pick(['COPY_UNTIL', 'HOLD_UNTIL']),
    include: random.oneIn(2) ? ['t0', 't*2', 'large'] : [],
    exclude: random.oneIn(2) ? ['t1', 't3'] : [],
  };
}

/**
 * A step's byte space with random contents, with the tensors that are sent once or without them; one tensor in so many
 * has every kind of number, ∞ and NaN among them.
 */
export function sampleStep(
  random: Random,
  spec: ListedSpec,
  wireDType: FloatDType | undefined,
  withOnce: boolean,
  wildOneIn = 8,
): Buffer {
  const parts = inWireOrder(spec.tensors).flatMap((tensor) => {
    if (tensor.policy === 'COPY_ONCE' && !withOnce) return [];
    const bytes = sampleNumbers(random, countOf(tensor), wireOf(tensor, wireDType), random.oneIn(wildOneIn));
    return [bytes, Buffer.alloc((64 - (bytes.length % 64)) % 64)];
  });
  return Buffer.concat(parts);
}

function sampleNumbers(random: Random, count: number, dtype: DType, isWild: boolean): Buffer {
  const bytes = Buffer.alloc(count * DTYPE_BYTES[dtype]);
  if (isWild || !isFloatDType(dtype)) {
    for (let at = 0; at < bytes.length; at++) bytes[at] = random.bits();
  } else if (dtype === 'F64' || dtype === 'F32') {
    const numbers = Array.from({ length: count }, () => random.bits() / 2 ** 31 - 1);
    bytes.set(new Uint8Array((dtype === 'F64' ? Float64Array.from(numbers) : Float32Array.from(numbers)).buffer));
  } else {
    // Without its top exponent bit a half is smaller than 2.
    bytes.set(new Uint8Array(Uint16Array.from({ length: count }, () => random.bits() & 0xbfff).buffer));
  }
  return bytes;
}
