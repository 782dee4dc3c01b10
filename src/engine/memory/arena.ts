import { DTYPE_BYTES } from '../../common/index.js';
import { createKernels, type KernelMode, type Kernels } from '../../kernels/index.js';

/*
 * One WebAssembly.Memory of at most ARENA_BYTES_MAX, cut into equal slots behind a scratch area:
 *
 *   0            SUMS_ADDRESS   SLOTS_ADDRESS                     + slotBytes                    + 2 slotBytes
 *   | scratch ... | sums         | slot 0: skew | page | rest of 4 KiB | slot 1: skew | page | ... |
 *
 * A page starts `skew` bytes into its slot. Pages that one kernel call reads and writes have different skews, because
 * the kernels lose 60 % when two addresses are equal modulo 4096 (store-to-load forwarding compares 12 bits).
 */

/** Largest operand that is moved between arenas or cast on its way out in one piece. */
export const SCRATCH_BYTES = 256 * 1024;

/** Address where kernels leave their sums. */
export const SUMS_ADDRESS = SCRATCH_BYTES;

const WASM_PAGE_BYTES = 65_536;

/** Address where the first slot begins. */
export const SLOTS_ADDRESS = SUMS_ADDRESS + WASM_PAGE_BYTES;

/** Room in each slot for the skew of its page: one period of the 4 KiB aliasing. */
export const SLOT_EXTRA_BYTES = 4096;

/** Skews by what a page is for; a copied-on-write page takes the one that its origin does not have. */
export const SKEW = { shadow: 0, shadowCopy: 1088, staging: 2112 } as const;

/** Bytes that 32-bit addresses reach. */
export const ARENA_BYTES_MAX = 2 ** 32;

export class Arena {
  readonly kernels: Kernels;
  readonly slotBytes: number;
  readonly slotCountMax: number;
  readonly #memory: WebAssembly.Memory;
  #view: Uint8Array;
  #floats: Float64Array;
  #slotCount = 0;
  readonly #freeSlots: number[] = [];
  /** The slots that were freed at least once, and may hold old bytes. */
  readonly #usedSlots = new Set<number>();

  constructor(pageBytes: number, mode: KernelMode, bytesMax = ARENA_BYTES_MAX) {
    this.slotBytes = pageBytes + SLOT_EXTRA_BYTES;
    this.slotCountMax = Math.floor((bytesMax - SLOTS_ADDRESS) / this.slotBytes);
    this.#memory = new WebAssembly.Memory({
      initial: SLOTS_ADDRESS / WASM_PAGE_BYTES,
      maximum: bytesMax / WASM_PAGE_BYTES,
    });
    this.kernels = createKernels({ memory: this.#memory, mode });
    this.#view = new Uint8Array(this.#memory.buffer);
    this.#floats = new Float64Array(this.#memory.buffer);
  }

  get slotCount(): number {
    return this.#slotCount;
  }

  get freeSlotCount(): number {
    return this.#freeSlots.length;
  }

  /** Makes `count` more slots free; the memory they take is the caller's to account for. */
  grow(count: number): void {
    const bytes = SLOTS_ADDRESS + (this.#slotCount + count) * this.slotBytes;
    const missing = Math.ceil(bytes / WASM_PAGE_BYTES) - this.#memory.buffer.byteLength / WASM_PAGE_BYTES;
    if (missing > 0) {
      this.#memory.grow(missing);
      this.#view = new Uint8Array(this.#memory.buffer);
      this.#floats = new Float64Array(this.#memory.buffer);
    }
    // The highest slots come first, because slots are taken from the end: so pages get rising addresses.
    for (let slot = this.#slotCount + count - 1; slot >= this.#slotCount; slot--) this.#freeSlots.push(slot);
    this.#slotCount += count;
  }

  /** Address of a page in a free slot, or undefined when there is none. */
  allocate(skew: number): number | undefined {
    const slot = this.#freeSlots.pop();
    return slot === undefined ? undefined : SLOTS_ADDRESS + slot * this.slotBytes + skew;
  }

  free(address: number): void {
    const slot = this.#slotOf(address);
    this.#freeSlots.push(slot);
    this.#usedSlots.add(slot);
  }

  /** Whether there may be old bytes in the slot of an address. */
  wasUsed(address: number): boolean {
    return this.#usedSlots.has(this.#slotOf(address));
  }

  #slotOf(address: number): number {
    return Math.floor((address - SLOTS_ADDRESS) / this.slotBytes);
  }

  /** A view that is valid until the arena grows: use it at once, keep it never. */
  bytes(address: number, length: number): Uint8Array {
    return this.#view.subarray(address, address + length);
  }

  /** An F64 at a multiple of 8. */
  float64(address: number): number {
    return this.#floats[address / DTYPE_BYTES.F64] ?? Number.NaN;
  }

  /** Copies inside the arena. */
  copyWithin(target: number, source: number, length: number): void {
    this.#view.copyWithin(target, source, source + length);
  }
}
