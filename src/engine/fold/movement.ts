import type { FloatDType, Precision } from '../../common/index.js';
import { SUMS_ADDRESS } from '../memory/arena.js';
import type { Page } from '../memory/page-pool.js';

/** The movement of an average by one fold, measured on a sample of its elements. */
export interface Movement {
  /** ‖θ − s‖ / ‖s‖ of the weights θ that came and the shadow s before the fold; undefined when that is no number. */
  readonly distanceRel: number | undefined;
  /** The share of the elements that are not zero which the fold changed. */
  readonly changedShare: number;
}

/** One element in so many is measured: one costs some ten folded ones, so all of it 4 % of the fold. */
const SAMPLE_STRIDE = 256;

/** Fewer at a time are not worth the call. */
const SAMPLE_RUN_MIN = 64;

/** Number of elements that are measured before the stride counts. A small model is measured whole. */
const SAMPLE_FIRST = 1_024;

/** The sums of one average over one fold. */
export class MovementMeter {
  readonly #precision: Precision;
  readonly #weight: number;
  /** Elements that may be measured now. */
  #credit = SAMPLE_FIRST;
  #distance2 = 0;
  #norm2 = 0;
  #changed = 0;
  #nonZero = 0;

  constructor(precision: Precision, weight: number) {
    this.#precision = precision;
    this.#weight = weight;
  }

  /** Sees `count` elements that are about to be folded: both operands in the arena of `page`. */
  see(page: Page, base: number, src: number, count: number, dtype: FloatDType): void {
    this.#credit += count / SAMPLE_STRIDE;
    const run = Math.min(count, Math.floor(this.#credit));
    if (run < Math.min(count, SAMPLE_RUN_MIN)) return;
    this.#credit -= run;
    const { arena } = page;
    arena.kernels.measure[this.#precision][dtype](SUMS_ADDRESS, base, src, run, this.#weight);
    this.#distance2 += arena.float64(SUMS_ADDRESS);
    this.#norm2 += arena.float64(SUMS_ADDRESS + 8);
    this.#changed += arena.float64(SUMS_ADDRESS + 16);
    this.#nonZero += arena.float64(SUMS_ADDRESS + 24);
  }

  get movement(): Movement {
    const distanceRel = Math.sqrt(this.#distance2 / this.#norm2);
    return {
      distanceRel: Number.isFinite(distanceRel) ? distanceRel : undefined,
      changedShare: this.#nonZero === 0 ? 0 : this.#changed / this.#nonZero,
    };
  }
}
