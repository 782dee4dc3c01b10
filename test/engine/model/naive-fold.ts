import { type DType, isFloatDType } from '../../../src/common/index.js';
import type { AverageSpec } from '../../../src/engine/index.js';
import { HALF_VALUES } from '../../kernels/oracle.js';
import type { NaiveVersion, Numbers } from './naive-run.js';

/** What a commit does to an average. */
export function moveOf(
  average: AverageSpec,
  head: NaiveVersion,
  a: number,
  isInitial: boolean,
): { weight: number; isUpdate: boolean } {
  if (isInitial) return { weight: average.start === 'ZEROS' ? 0 : 1, isUpdate: false };
  const push = head.pushes[a]! + 1;
  const isTouched = push % average.every === average.everyOffset;
  const isDelayed = push <= average.delayUpdates;
  if (isTouched && !isDelayed) return { weight: weightOf(average, head.numUpdates[a]! + 1), isUpdate: true };
  const isEmpty = !head.begun[a]! && average.start === 'FIRST';
  const isCopied = isTouched && isDelayed && average.delayMode === 'COPY_UNTIL';
  return { weight: isEmpty || isCopied ? 1 : 0, isUpdate: false };
}

function weightOf({ schedule, start }: AverageSpec, k: number): number {
  if (k === 1 && start === 'FIRST') return 1;
  if (schedule.kind === 'constant') return 1 - schedule.decay;
  if (schedule.kind === 'mean') return 1 / k;
  throw new Error(`${schedule.kind} is no schedule of the samples`);
}

export function folded(shadow: Numbers, theta: Float64Array, weight: number): Numbers {
  if (weight === 0) return shadow;
  if (shadow instanceof Float64Array) {
    return shadow.map((s, i) => (weight === 1 ? theta[i]! : isKept(s, theta[i]!) ? s : s + weight * (theta[i]! - s)));
  }
  const { fround } = Math;
  const w = fround(weight);
  return shadow.map((s, i) => {
    const p = fround(theta[i]!);
    return weight === 1 ? p : isKept(s, p) ? s : fround(s + fround(w * fround(p - s)));
  });
}

/** Equal infinities: the textbook's rule has no difference in it that would be NaN. */
function isKept(s: number, theta: number): boolean {
  return s === theta && !Number.isFinite(s);
}

export function decoded(bytes: Uint8Array, dtype: DType): Float64Array {
  if (!isFloatDType(dtype)) throw new Error(`${dtype} is not averaged`);
  if (dtype === 'F64') return new Float64Array(bytes.buffer);
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes.buffer));
  return Float64Array.from(new Uint16Array(bytes.buffer), (code) => HALF_VALUES[dtype][code]!);
}
