import { DTYPE_BYTES, type FloatDType, isFloatDType, quote } from '../../common/index.js';
import { wireDTypeOf } from '../layout/layout.js';
import type { WireBox, WirePlan } from '../layout/wire-plan.js';
import type { Page } from '../memory/page-pool.js';
import { lastFrom } from './last-from.js';

/** Says what is done with a step that has infinities or NaN in averaged tensors. */
export type NonFinitePolicy = 'ACCEPT' | 'REJECT_STEP' | 'SKIP_TENSOR';

/** A piece of the byte space from `stepOffset`, that lies on `page` at `address`. No element is cut. */
export interface Piece {
  readonly page: Page;
  readonly address: number;
  readonly stepOffset: number;
  readonly length: number;
}

/** Looks for infinities and NaN in what has just been staged, while it is in the cache. */
export class NonFiniteScan {
  readonly #plan: WirePlan;
  /** Whether the scan may end with the first tensor that it finds. */
  readonly #firstOnly: boolean;
  readonly #found = new Set<number>();
  #detail = '';

  constructor(plan: WirePlan, policy: NonFinitePolicy) {
    this.#plan = plan;
    this.#firstOnly = policy !== 'SKIP_TENSOR';
  }

  /** The tensors that have some so far, by their index in the layout. */
  get found(): ReadonlySet<number> {
    return this.#found;
  }

  /** The first element that was found, in words. */
  get detail(): string {
    return this.#detail;
  }

  reset(): void {
    this.#found.clear();
    this.#detail = '';
  }

  /**
   * Scans a piece of a segment of this dtype. Tensors that lie close together are scanned at once, and one by one only
   * after a hit.
   */
  scan(piece: Piece, dtype: FloatDType): void {
    if (this.#firstOnly && this.#found.size > 0) return;
    if (!isFinitePart(piece, piece.stepOffset, piece.stepOffset + piece.length, dtype)) this.#findTensors(piece);
  }

  #findTensors(piece: Piece): void {
    const { boxes, layout, wireDType } = this.#plan;
    for (
      let at = lastFrom(boxes.count, (index) => boxes.stepOffsetAt(index), piece.stepOffset);
      at < boxes.count;
      at++
    ) {
      const box = boxes.at(at);
      if (box.stepOffset >= piece.stepOffset + piece.length) return;
      const dtype = wireDTypeOf(layout, box.tensor, wireDType);
      if (layout.tensors.policyOf(box.tensor) !== 'AVERAGE' || !isFloatDType(dtype)) continue;
      const boxEnd = box.stepOffset + box.bytes;
      if (isFinitePart(piece, box.stepOffset, boxEnd, dtype)) continue;
      this.#found.add(box.tensor);
      if (this.#detail !== '') continue;
      const element = firstNonFinite(piece, box, boxEnd, dtype);
      this.#detail = `tensor ${quote(layout.tensors.nameOf(box.tensor))} is not finite at element ${element}`;
    }
  }
}

/** Whether the part of `piece` from `begin` to `end` has no infinity and no NaN. */
function isFinitePart(piece: Piece, begin: number, end: number, dtype: FloatDType): boolean {
  const from = Math.max(begin, piece.stepOffset);
  const to = Math.min(end, piece.stepOffset + piece.length);
  if (to <= from) return true;
  const address = piece.address + from - piece.stepOffset;
  return piece.page.arena.kernels.finite[dtype](address, (to - from) / DTYPE_BYTES[dtype]) !== 0;
}

/** Finds, by halving, the first element of a box in `piece` that is not finite. Returns its index in the tensor. */
function firstNonFinite(piece: Piece, box: WireBox, boxEnd: number, dtype: FloatDType): number {
  const size = DTYPE_BYTES[dtype];
  let from = Math.max(box.stepOffset, piece.stepOffset);
  let count = (Math.min(boxEnd, piece.stepOffset + piece.length) - from) / size;
  while (count > 1) {
    const half = count >>> 1;
    if (isFinitePart(piece, from, from + half * size, dtype)) {
      from += half * size;
      count -= half;
    } else {
      count = half;
    }
  }
  return (from - box.stepOffset) / size;
}
