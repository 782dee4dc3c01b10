import { ShadowkeepError } from '../common/index.js';

/**
 * The bytes that all runs together may hold. Whoever needs memory reserves it here before it is used; what does not
 * fit is refused with the three numbers a person needs. Invariant: 0 ≤ used ≤ budget.
 */
export class Ledger {
  readonly budgetBytes: number;
  #usedBytes = 0;

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get freeBytes(): number {
    return this.budgetBytes - this.#usedBytes;
  }

  /** Throws MEMORY_EXHAUSTED and reserves nothing when `bytes` do not fit; `what` says for whom in the message. */
  reserve(bytes: number, what: string): void {
    this.check(bytes, what);
    this.#usedBytes += bytes;
  }

  /** Like reserve, without taking the bytes. */
  check(bytes: number, what: string): void {
    if (bytes <= this.freeBytes) return;
    throw new ShadowkeepError(
      'MEMORY_EXHAUSTED',
      `${what} needs ${bytes} bytes, ${this.freeBytes} of the server's ${this.budgetBytes} are free`,
      { metadata: { askedBytes: bytes, freeBytes: this.freeBytes, totalBytes: this.budgetBytes } },
    );
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}
