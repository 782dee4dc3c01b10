/** The unit roundoff of float32. */
const ROUNDOFF = 2 ** -24;

/** The EMA that the service should hold, computed in float64 from the same float32 weights. */
export class ReferenceEma {
  /** The average, which each fold changes. */
  readonly values: Float64Array;
  private readonly weight: number;
  private updates = 0;
  private magnitudeMax: number;

  /** Starts as a copy of `initial` (start INITIAL). */
  constructor(initial: Float32Array, decay: number) {
    this.values = Float64Array.from(initial);
    this.weight = 1 - decay;
    this.magnitudeMax = largestMagnitude(initial);
  }

  fold(weights: Float32Array): void {
    for (let index = 0; index < weights.length; index += 1) {
      this.values[index]! += this.weight * (weights[index]! - this.values[index]!);
    }
    this.updates += 1;
    this.magnitudeMax = Math.max(this.magnitudeMax, largestMagnitude(weights));
  }

  /**
   * Largest absolute difference that a float32 EMA of the same weights can have from this one.
   *
   * With u the unit roundoff and M the largest |θ| so far, |s| ≤ M and |θ − s| ≤ 2M. One update rounds four times: the
   * difference, the weight w and their product by at most u · w · 2M each, the sum by at most u · M. Together
   * u · M · (1 + 6w); 8 in place of 6 is more than what is of second order in u, and float64's own rounding. The next
   * update shrinks what is there by 1 − w, so k updates add up to at most min(k, 1 / w) times that.
   */
  errorBound(): number {
    const perUpdate = ROUNDOFF * this.magnitudeMax * (1 + 8 * this.weight);
    return Math.min(this.updates, 1 / this.weight) * perUpdate;
  }
}

/** Largest absolute difference of two lists; ∞ when an element is not a number or the lengths differ. */
export function largestDifference(left: Float32Array, right: Float64Array): number {
  if (left.length !== right.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let index = 0; index < left.length; index += 1) {
    const difference = Math.abs(left[index]! - right[index]!);
    if (Number.isNaN(difference)) return Number.POSITIVE_INFINITY;
    if (difference > largest) largest = difference;
  }
  return largest;
}

function largestMagnitude(values: Float32Array): number {
  return values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
}
