import { assert, DTYPE_BYTES, type FloatDType, quote, ShadowkeepError } from '../../common/index.js';
import type { Layout } from '../layout/layout.js';
import { SCRATCH_BYTES } from '../memory/arena.js';
import type { PageTable, Plane } from '../memory/plane.js';
import { pageAt } from '../memory/tables.js';
import { type ElementSource, planFrom, type ReadPlan, readElements } from '../read/read.js';
import type { Selection } from '../read/read-tensors.js';
import type { Shadow, Version } from '../versions/version.js';
import { type Fit, fitProfiles } from './fit.js';
import { powerAverage } from './snapshots.js';

/** One part of a combination: a snapshot, or an average as it is in the version. */
export interface Contribution {
  readonly average: string;
  readonly step: number;
  readonly gamma: number;
  readonly weight: number;
}

export interface Combination {
  readonly step: number;
  readonly contributions: readonly Contribution[];
  readonly fitError: number;
  readonly plan: ReadPlan;
}

/** An input of a combination: where its elements lie, and its profile. */
interface Input {
  readonly average: string;
  readonly gamma: number;
  readonly time: number;
  readonly step: number;
  readonly plane: Plane;
  readonly table: PageTable;
}

/** Elements combined at a time: sums, source and result lie in an arena's scratch side by side, 8 bytes each. */
const TILE_ELEMENTS = SCRATCH_BYTES / (4 * DTYPE_BYTES.F64);
const SOURCE_ADDRESS = TILE_ELEMENTS * DTYPE_BYTES.F64;
const RESULT_ADDRESS = 2 * SOURCE_ADDRESS;

/** Elements of one input that are added in the time of one run of a read. */
const RUN_ELEMENTS = 512;

/**
 * The weights that an average of exponent `gamma` would have at `step` (undefined: the version's own), from the snapshots
 * and averages that the version holds: a read of it, tile by tile, rounded once. Throws NOTHING_TO_COMBINE,
 * VERSION_NOT_FOUND when nothing was kept at that step. Yields between slices.
 */
export function* planCombination(
  run: string,
  layout: Layout,
  version: Version,
  gamma: number,
  wantedStep: number | undefined,
  selection: Selection,
  dtype: FloatDType = 'F32',
): Generator<void, Combination> {
  const lead = leadAverage(run, version);
  const { inputs, kept } = inputsLike(lead, version);
  const step = wantedStep ?? version.step ?? 0;
  const time = kept.find((input) => input.step === step)?.time;
  if (time === undefined) {
    const steps = [...new Set(kept.map((input) => input.step))].join(', ');
    throw new ShadowkeepError(
      'VERSION_NOT_FOUND',
      `run ${quote(run)} kept nothing of step ${step} to combine, it has ${steps}`,
      { metadata: { step } },
    );
  }
  const used = inputs.filter((input) => input.time <= time);
  const fit = fitProfiles(used, { gamma, time });
  const plan = yield* planFrom(
    layout,
    version,
    lead.spec,
    selection,
    dtype,
    combined(used, fit, dtype),
    Math.ceil(RUN_ELEMENTS / used.length),
  );
  const contributions = used.map((input, index) => ({
    average: input.average,
    step: input.step,
    gamma: input.gamma,
    weight: fit.weights[index] ?? 0,
  }));
  return { step, contributions, fitError: fit.error, plan };
}

/** The first power-function average that has folded: those that count and choose tensors as it does are combined. */
function leadAverage(run: string, version: Version): Shadow {
  const lead = version.shadows.find(({ spec, state }) => powerAverage(spec, state) !== undefined);
  if (lead !== undefined) return lead;
  throw new ShadowkeepError(
    'NOTHING_TO_COMBINE',
    `run ${quote(run)} has no power-function average that has been updated, a combination needs one or more`,
  );
}

/** Everything that is kept of averages like `lead`, and the part of it that the fit needs. */
function inputsLike(lead: Shadow, version: Version): { inputs: Input[]; kept: Input[] } {
  const rhythm = rhythmOf(lead);
  const alike = version.shadows.filter((shadow) => rhythmOf(shadow) === rhythm);
  const present = alike.flatMap(({ spec, state, plane, table }): Input[] => {
    const power = powerAverage(spec, state);
    return power === undefined ? [] : [{ ...power, average: spec.name, step: version.step ?? 0, plane, table }];
  });
  const names = new Set(alike.map(({ spec }) => spec.name));
  const isPresent = (input: Pick<Input, 'average' | 'time'>): boolean =>
    present.some(({ average, time }) => average === input.average && time === input.time);
  const snapshots = version.snapshots.filter((snapshot) => names.has(snapshot.average));
  // A snapshot of the present state says nothing more than the average itself: nothing was folded since.
  const inputs = [...snapshots.filter((snapshot) => !isPresent(snapshot)), ...present];
  return { inputs, kept: [...snapshots, ...present] };
}

/** The text that two averages share when their profiles speak of the same weights at the same times. */
function rhythmOf({ spec, state }: Shadow): string {
  const { decayUnit, every, everyOffset, delayUpdates, include, exclude } = spec;
  return JSON.stringify([decayUnit, every, everyOffset, delayUpdates, include, exclude, state.addedAtStep]);
}

/** Σ weight · input in F64, rounded to `dtype` at the end. */
function combined(inputs: readonly Input[], { weights }: Fit, dtype: FloatDType): ElementSource {
  const buffer = new Uint8Array(SOURCE_ADDRESS);
  return (flat, target) => {
    const [first] = inputs;
    assert(first !== undefined, 'a combination has inputs');
    const size = DTYPE_BYTES[dtype];
    for (let done = 0; done < target.length / size; ) {
      const count = Math.min(target.length / size - done, TILE_ELEMENTS);
      const { arena } = pageAt(first.table, first.plane, flat + done);
      arena.bytes(0, count * DTYPE_BYTES.F64).fill(0);
      for (const [index, { plane, table }] of inputs.entries()) {
        assert(plane.dtype !== undefined, 'inputs are floats');
        const piece = buffer.subarray(0, count * plane.elementBytes);
        readElements(table, plane, flat + done, plane.dtype, piece);
        arena.bytes(SOURCE_ADDRESS, piece.length).set(piece);
        arena.kernels.accumulate[plane.dtype](0, SOURCE_ADDRESS, count, weights[index] ?? 0);
      }
      arena.kernels.cast.F64[dtype](RESULT_ADDRESS, 0, count);
      target.set(arena.bytes(RESULT_ADDRESS, count * size), done * size);
      done += count;
    }
  };
}
