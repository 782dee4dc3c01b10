import {
  type Layout,
  Lease,
  type Ledger,
  READ_BOX_BYTES,
  READ_TENSOR_BYTES,
  textHeapBytes,
} from '../../engine/index.js';
import type { GetShadow } from '../messages/index.js';

/** A character of a pattern with stars, while it is compiled: measured, rounded up. */
const STAR_CHAR_HEAP_BYTES = 160;

/**
 * What a read has reserved for the list of what it wants: it lasts as long as its reader likes. A read of everything has the
 * list that all share, which is the layout's.
 */
export class ReadLease {
  readonly #ledger: Ledger;
  readonly #heap: Lease;
  #listBytes = 0;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.#heap = new Lease(ledger, 'the patterns of a read');
  }

  /** Once. Throws MEMORY_EXHAUSTED. */
  take({ boxes, names }: GetShadow, { tensors }: Layout): void {
    this.#heap.take(names.reduce((sum, name) => sum + patternHeapBytes(name), 0));
    // A read by names keeps which tensors they match, a byte for each tensor.
    const ofNames = names.length === 0 ? 0 : tensors.length * (READ_TENSOR_BYTES + 1);
    const listBytes = boxes === undefined ? ofNames : boxes.bytes + boxes.count * READ_BOX_BYTES;
    this.#ledger.reserve(listBytes, 'the list of a read');
    this.#listBytes = listBytes;
  }

  /** Idempotent. */
  release(): void {
    this.#heap.release();
    this.#ledger.release(this.#listBytes);
    this.#listBytes = 0;
  }
}

function patternHeapBytes(pattern: string): number {
  return textHeapBytes(pattern) + (pattern.includes('*') ? pattern.length * STAR_CHAR_HEAP_BYTES : 0);
}
