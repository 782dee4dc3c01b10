import { randomBits } from '../../kernels/elements.js';

/** Choices that one seed decides. */
export class Random {
  readonly bits: () => number;

  constructor(seed: number) {
    this.bits = randomBits(seed);
  }

  /** An integer from 0 to `count` − 1. */
  below(count: number): number {
    return Math.floor((this.bits() / 2 ** 32) * count);
  }

  /** An integer from `min` to `max`. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
}
