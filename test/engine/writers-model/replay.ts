import { DTYPE_BYTES, toEnd } from '../../../src/common/index.js';
import { planRead, type Run, readBytes } from '../../../src/engine/index.js';
import { entriesOf, type ListedSpec } from '../fixtures.js';
import { decoded, moveOf } from '../model/naive-fold.js';
import { countOf, inWireOrder, wireOf } from '../model/naive-run.js';
import type { Flip } from './events.js';

/*
 * The averages of a head, computed from the bytes that the writers sent of the steps that it descends from, in float64:
 *
 *   s ← s + w (θ − s)
 *
 * A fold in float32 rounds three times, each time by at most half a unit in the last place of the largest number that was
 * there: 2^-24 of it, or half of the smallest denormal.
 */
const ROUNDINGS = 3;
const UNIT = { F32: 2 ** -24, F64: 2 ** -53 } as const;
const SMALLEST = { F32: 2 ** -150, F64: 2 ** -1075 } as const;

/** Differences of larger numbers may overflow in float32. */
const COMPARED_MAX = 2 ** 126;

/** One tensor of one average: its values, and the largest number that each has met. */
interface Element {
  readonly values: Float64Array;
  readonly largest: Float64Array;
}

/** Compares the run's head with a replay of what was sent. Values that met an infinity or NaN are left out. */
export function checkReplay(
  run: Run,
  spec: ListedSpec,
  wireDTypeOf: (generation: number) => Parameters<typeof wireOf>[1],
  lineage: readonly Flip[],
): void {
  const folds = lineage.filter(({ parts }) => parts.every(({ isSkipped }) => !isSkipped));
  for (const [a, shadow] of run.head.shadows.entries()) {
    const replayed = replay(
      spec,
      a,
      folds.map((flip) => ({ ...flip, wireDType: wireDTypeOf(flip.generation) })),
    );
    const plan = toEnd(planRead(run.layout, run.head, shadow, 'ALL'));
    const found = Buffer.alloc(plan.tensors.totalBytes);
    toEnd(readBytes(plan, 0, found));
    for (const { tensor, dtype, readOffset, bytes } of entriesOf(plan)) {
      const expected = replayed.get(tensor.name);
      if (expected === undefined || (dtype !== 'F32' && dtype !== 'F64')) continue;
      const part = Uint8Array.from(found.subarray(readOffset, readOffset + bytes)).buffer;
      const values = dtype === 'F32' ? new Float32Array(part) : new Float64Array(part);
      for (let i = 0; i < values.length; i++) {
        const largest = expected.largest[i]!;
        if (!(largest < COMPARED_MAX)) continue;
        const tolerance = (folds.length + 1) * ROUNDINGS * 2 * (largest * UNIT[dtype] + SMALLEST[dtype]);
        if (Math.abs(values[i]! - expected.values[i]!) <= tolerance) continue;
        const where = `average ${a}, tensor ${tensor.name} [${i}] of step ${run.committedStep}`;
        throw new Error(`${where}: ${values[i]}, the replay has ${expected.values[i]}`);
      }
    }
  }
}

type Fold = Flip & { readonly wireDType: Parameters<typeof wireOf>[1] };

function replay(spec: ListedSpec, a: number, folds: readonly Fold[]): Map<string, Element> {
  const average = spec.averages[a]!;
  const averaged = spec.tensors.filter(({ policy }) => policy === 'AVERAGE');
  const elements = new Map(
    averaged.map((tensor) => [
      tensor.name,
      { values: new Float64Array(countOf(tensor)), largest: new Float64Array(countOf(tensor)) },
    ]),
  );
  let head = { numUpdates: [0], pushes: [0], begun: [false] };
  for (const fold of folds) {
    const isInitial = fold.parts.some((part) => part.isInitial);
    const { weight, isUpdate } = moveOf(average, head as never, 0, isInitial);
    const weights = weightsOf(spec, fold);
    for (const { name } of averaged) {
      const theta = weights.get(name)!;
      const isSkipped = spec.nonFinite === 'SKIP_TENSOR' && theta.some((value) => !Number.isFinite(value));
      if (!isSkipped || (!head.begun[0] && weight === 1)) move(elements.get(name)!, theta, weight);
    }
    head = {
      numUpdates: [head.numUpdates[0]! + (isUpdate ? 1 : 0)],
      pushes: [head.pushes[0]! + (isInitial ? 0 : 1)],
      begun: [true],
    };
  }
  return elements;
}

function move({ values, largest }: Element, theta: Float64Array, weight: number): void {
  for (let i = 0; i < values.length; i++) {
    const [s, p] = [values[i]!, theta[i]!];
    // An assignment forgets what was there; a hold looks at nothing.
    if (weight === 0) continue;
    largest[i] = weight === 1 ? Math.abs(p) : Math.max(largest[i]!, Math.abs(s), Math.abs(p), Math.abs(p - s));
    values[i] = weight === 1 ? p : s + weight * (p - s);
  }
}

/** The averaged tensors of a step, put together from the parts of its writers. */
function weightsOf(spec: ListedSpec, { parts, wireDType }: Fold): Map<string, Float64Array> {
  let end = 0;
  const places = inWireOrder(spec.tensors).map((tensor) => {
    const [begin, bytes] = [end, countOf(tensor) * DTYPE_BYTES[wireOf(tensor, wireDType)]];
    end += Math.ceil(bytes / 64) * 64;
    return { tensor, begin, bytes };
  });
  const space = Buffer.alloc(end);
  for (const { bytes, part } of parts) {
    for (let at = 0; at < bytes.length; at++) if (part.sources[at] !== -1) space[part.sources[at]!] = bytes[at]!;
  }
  const averaged = places.filter(({ tensor }) => tensor.policy === 'AVERAGE');
  return new Map(
    averaged.map(({ tensor, begin, bytes }) => {
      const own = Uint8Array.from(space.subarray(begin, begin + bytes));
      return [tensor.name, decoded(own, wireOf(tensor, wireDType))];
    }),
  );
}
