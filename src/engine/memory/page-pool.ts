import { assert, ShadowkeepError } from '../../common/index.js';
import type { KernelMode } from '../../kernels/index.js';
import { Arena, SLOT_EXTRA_BYTES } from './arena.js';
import type { Ledger } from './ledger.js';

/** A fixed-size piece of an arena. `refs` counts the versions whose table names it; 0: staging, or just allocated. */
export interface Page {
  readonly arena: Arena;
  readonly address: number;
  readonly skew: number;
  refs: number;
}

/** A page that is wanted: the arena where its neighbours in a kernel call live, and its skew there. */
export interface PageWant {
  readonly home: number;
  readonly skew: number;
}

/**
 * The pages of one run, in as many arenas as it needs. Memory is reserved in the ledger slot by slot as arenas grow and
 * given back when the run is deleted: WebAssembly memory cannot shrink, so what the ledger counts is what is resident.
 */
export class PagePool {
  readonly pageBytes: number;
  readonly #ledger: Ledger;
  readonly #mode: KernelMode;
  readonly #owner: string;
  readonly #arenaBytesMax: number | undefined;
  readonly #arenas: Arena[] = [];
  #reservedBytes = 0;
  #usedPages = 0;

  constructor(pageBytes: number, ledger: Ledger, mode: KernelMode, owner: string, arenaBytesMax?: number) {
    this.pageBytes = pageBytes;
    this.#ledger = ledger;
    this.#mode = mode;
    this.#owner = owner;
    this.#arenaBytesMax = arenaBytesMax;
  }

  /** The bytes that the ledger counts for so many pages. */
  bytesOf(pageCount: number): number {
    return pageCount * (this.pageBytes + SLOT_EXTRA_BYTES);
  }

  /** Bytes reserved in the ledger. */
  get reservedBytes(): number {
    return this.#reservedBytes;
  }

  get freeBytes(): number {
    return this.#freeSlotCount * this.pageBytes;
  }

  get usedPages(): number {
    return this.#usedPages;
  }

  /**
   * One page for each want, in its home where possible: a kernel's operands share an arena or pay for a copy. All or
   * nothing: throws MEMORY_EXHAUSTED, saying `what`, and allocates none. Fresh pages are zero, reused ones hold old
   * bytes of the same run.
   */
  allocate(wants: readonly PageWant[], what: string): Page[] {
    this.makeFree(wants, what);
    const pages = wants.map((want) => this.#allocatePage(want));
    this.#usedPages += pages.length;
    return pages;
  }

  /** Allocates pages of zeros. */
  allocateZeros(wants: readonly PageWant[], what: string): Page[] {
    const pages = this.allocate(wants, what);
    for (const { arena, address } of pages) if (arena.wasUsed(address)) arena.bytes(address, this.pageBytes).fill(0);
    return pages;
  }

  /** Throws MEMORY_EXHAUSTED, saying `what`, unless so many pages are free or could be made. */
  check(count: number, what: string): void {
    this.#ledger.check(this.bytesOf(Math.max(0, count - this.#freeSlotCount)), what);
  }

  /**
   * Makes so many pages free as are wanted soon. Each growth of an arena may make V8 look at its whole heap, so what is
   * wanted piece by piece is made at once. Throws MEMORY_EXHAUSTED, saying `what`.
   */
  makeFree(wants: readonly PageWant[], what: string): void {
    const missing = wants.length - this.#freeSlotCount;
    if (missing <= 0) return;
    const bytes = this.bytesOf(missing);
    this.#ledger.reserve(bytes, `${what} of ${this.#owner}`);
    try {
      this.#grow(wants, missing);
      this.#reservedBytes += bytes;
    } catch (cause) {
      this.#settleReserved(this.#reservedBytes + bytes);
      throw new ShadowkeepError(
        'MEMORY_EXHAUSTED',
        `${what} of ${this.#owner} needs ${bytes} bytes, the ledger has them and the system does not`,
        { metadata: { askedBytes: bytes }, cause },
      );
    }
  }

  free(page: Page): void {
    assert(page.refs === 0, 'a page that is freed is in no table');
    page.arena.free(page.address);
    this.#usedPages -= 1;
  }

  /** Gives everything back to the ledger; the pool must not be used afterwards. */
  close(): void {
    this.#ledger.release(this.#reservedBytes);
    this.#reservedBytes = 0;
    this.#arenas.length = 0;
  }

  get #freeSlotCount(): number {
    return this.#arenas.reduce((sum, arena) => sum + arena.freeSlotCount, 0);
  }

  /** Gives back what was reserved and not made: arenas grow one after another, and the system may refuse in between. */
  #settleReserved(reservedBytes: number): void {
    const slots = this.#arenas.reduce((sum, arena) => sum + arena.slotCount, 0);
    this.#reservedBytes = this.bytesOf(slots);
    this.#ledger.release(reservedBytes - this.#reservedBytes);
  }

  /**
   * Grows each wanted arena by what it lacks until `missing` slots are made; what does not fit spills into new arenas.
   */
  #grow(wants: readonly PageWant[], missing: number): void {
    const wanted = new Map<number, number>();
    for (const { home } of wants) wanted.set(home, (wanted.get(home) ?? 0) + 1);
    let left = missing;
    for (const [home, count] of wanted) {
      const arena = this.#arena(home);
      const room = Math.min(count - arena.freeSlotCount, arena.slotCountMax - arena.slotCount, left);
      if (room <= 0) continue;
      arena.grow(room);
      left -= room;
    }
    for (let index = 0; left > 0; index++) {
      const arena = this.#arena(index);
      const room = Math.min(arena.slotCountMax - arena.slotCount, left);
      if (room > 0) arena.grow(room);
      left -= room;
    }
  }

  #allocatePage({ home, skew }: PageWant): Page {
    const candidates = [this.#arena(home), ...this.#arenas];
    for (const arena of candidates) {
      const address = arena.allocate(skew);
      if (address !== undefined) return { arena, address, skew, refs: 0 };
    }
    throw new Error('broken invariant: a reserved page is free somewhere');
  }

  #arena(index: number): Arena {
    while (this.#arenas.length <= index) this.#arenas.push(new Arena(this.pageBytes, this.#mode, this.#arenaBytesMax));
    const arena = this.#arenas[index];
    assert(arena !== undefined, 'the arena was just made');
    return arena;
  }
}
