import { ShadowkeepError } from '../../common/index.js';

/**
 * The bytes that all runs together may hold. Whoever needs memory reserves it here before it is used; what does not
 * fit is refused with the three numbers a person needs. Invariant: 0 ≤ used ≤ budget.
 */
export class Ledger {
  readonly budgetBytes: number;
  /**
   * The part of the budget, bytes, that may be objects of JavaScript. Their heap has a limit of its own, past which the
   * process ends.
   */
  readonly heapBudgetBytes: number;
  #usedBytes = 0;
  #heapUsedBytes = 0;

  constructor(budgetBytes: number, heapBudgetBytes = budgetBytes) {
    this.budgetBytes = budgetBytes;
    this.heapBudgetBytes = heapBudgetBytes;
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

  get heapUsedBytes(): number {
    return this.#heapUsedBytes;
  }

  /** Like reserve, for objects of JavaScript. */
  reserveHeap(bytes: number, what: string): void {
    const freeBytes = this.heapBudgetBytes - this.#heapUsedBytes;
    if (bytes > freeBytes) {
      throw new ShadowkeepError(
        'MEMORY_EXHAUSTED',
        `${what} needs ${bytes} bytes, ${freeBytes} of the ${this.heapBudgetBytes} that objects may take are free`,
        { metadata: { askedBytes: bytes, freeBytes, totalBytes: this.heapBudgetBytes } },
      );
    }
    this.reserve(bytes, what);
    this.#heapUsedBytes += bytes;
  }

  releaseHeap(bytes: number): void {
    this.release(bytes);
    this.#heapUsedBytes -= bytes;
  }
}

/**
 * The bytes that one owner has reserved beside the arenas: for objects of JavaScript, and for columns beside their heap.
 */
export class Lease {
  readonly #ledger: Ledger;
  readonly #what: string;
  #heapBytes = 0;
  #columnBytes = 0;

  /** `what` says for whom in messages. */
  constructor(ledger: Ledger, what: string) {
    this.#ledger = ledger;
    this.#what = what;
  }

  get bytes(): number {
    return this.#heapBytes + this.#columnBytes;
  }

  /** Takes bytes for objects. Throws MEMORY_EXHAUSTED and takes nothing when so many more do not fit. */
  reserve(bytes: number): void {
    this.#ledger.reserveHeap(bytes, this.#what);
    this.#heapBytes += bytes;
  }

  /** Takes bytes for columns. Throws MEMORY_EXHAUSTED and takes nothing when so many more do not fit. */
  reserveColumns(bytes: number): void {
    this.#ledger.reserve(bytes, this.#what);
    this.#columnBytes += bytes;
  }

  /** Gives bytes for objects back. */
  giveBack(bytes: number): void {
    this.#ledger.releaseHeap(bytes);
    this.#heapBytes -= bytes;
  }

  /** Idempotent. */
  release(): void {
    this.giveBack(this.#heapBytes);
    this.#ledger.release(this.#columnBytes);
    this.#columnBytes = 0;
  }
}
