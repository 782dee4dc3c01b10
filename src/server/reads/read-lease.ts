import {
  type Layout,
  Lease,
  type Ledger,
  READ_BOX_BYTES,
  READ_TENSOR_BYTES,
  textHeapBytes,
} from '../../engine/index.js';
import type { GetShadow } from '../messages/index.js';

/** Heap that each character of a pattern with stars takes once it is compiled, bytes: measured, rounded up. */
const STAR_CHAR_HEAP_BYTES = 160;

/**
 * Memory that a read has reserved in the ledger for its list of tensors or boxes, and for its patterns. A read can last
 * as long as its reader likes, so the list counts. A read of all tensors uses the layout's own list and reserves
 * nothing.
 */
export class ReadLease {
  readonly #ledger: Ledger;
  readonly #heap: Lease;
  #listBytes = 0;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.#heap = new Lease(ledger, 'the patterns of a read');
  }

  /** Reserves what the request needs. Call it once. Throws MEMORY_EXHAUSTED. */
  reserve({ boxes, names }: GetShadow, { tensors }: Layout): void {
    this.#heap.reserve(names.reduce((sum, name) => sum + patternHeapBytes(name), 0));
    // A read by names also keeps one byte for each tensor of the run: whether a name matches it.
    const ofNames = names.length === 0 ? 0 : tensors.length * (READ_TENSOR_BYTES + 1);
    const listBytes = boxes === undefined ? ofNames : boxes.bytes + boxes.count * READ_BOX_BYTES;
    this.#ledger.reserve(listBytes, 'the list of a read');
    this.#listBytes = listBytes;
  }

  /** Gives all of it back. Idempotent. */
  release(): void {
    this.#heap.release();
    this.#ledger.release(this.#listBytes);
    this.#listBytes = 0;
  }
}

function patternHeapBytes(pattern: string): number {
  return textHeapBytes(pattern) + (pattern.includes('*') ? pattern.length * STAR_CHAR_HEAP_BYTES : 0);
}
