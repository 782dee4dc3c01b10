import { assert, DTYPE_BYTES, type Precision } from '../../common/index.js';
import { type Advance, advanceUpdate } from '../averages/index.js';
import type { WirePlan } from '../layout/wire-plan.js';
import { SCRATCH_BYTES } from '../memory/arena.js';
import type { Page } from '../memory/page-pool.js';
import { pageAt } from '../memory/tables.js';
import type { Shadow, Version } from '../versions/version.js';
import { MovementMeter } from './movement.js';

/**
 * Folds a step while it arrives, where that is possible: each piece of the weights becomes the new shadow in its place on
 * the staging pages, while it is in the cache. The head is only read, so that nothing has happened until the commit, which
 * puts the staging pages in the place of the shadow's: there is nothing left to fold then, and no page to copy for the
 * readers of the old one.
 *
 * It takes a run whose only average lies as the wire does: all tensors averaged, sent in the dtype of the shadow.
 */
export class FoldAhead {
  readonly shadow: Shadow;
  readonly advance: Advance;
  readonly meter: MovementMeter;
  readonly #precision: Precision;

  private constructor(shadow: Shadow, advance: Advance) {
    this.shadow = shadow;
    this.advance = advance;
    this.#precision = shadow.plane.dtype;
    this.meter = new MovementMeter(this.#precision, advance.weight);
  }

  /** For `step` of a writer with so many staging pages; undefined where it is not possible, or has nothing to compute. */
  static begin(head: Version, plan: WirePlan, pageCount: number, step: number): FoldAhead | undefined {
    const [shadow, ...others] = head.shadows;
    if (head.step === undefined || shadow === undefined || others.length > 0) return undefined;
    if (!liesAsTheWire(shadow, plan, pageCount)) return undefined;
    const advance = advanceUpdate(shadow.spec, shadow.state, step);
    return advance.weight > 0 && advance.weight < 1 ? new FoldAhead(shadow, advance) : undefined;
  }

  /** Folds `length` bytes of the byte space from `stepOffset`, in place at `address` of their staging page. */
  fold(page: Page, address: number, stepOffset: number, length: number): void {
    const { plane, table } = this.shadow;
    const flat = stepOffset / plane.elementBytes;
    const base = pageAt(table, plane, flat);
    const from = base.address + (flat % plane.pageElements) * plane.elementBytes;
    const { arena } = page;
    if (base.arena === arena) {
      this.#foldPart(page, address, from, length);
      return;
    }
    for (let done = 0; done < length; done += SCRATCH_BYTES) {
      const part = Math.min(SCRATCH_BYTES, length - done);
      arena.bytes(0, part).set(base.arena.bytes(from + done, part));
      this.#foldPart(page, address + done, 0, part);
    }
  }

  #foldPart(page: Page, address: number, base: number, length: number): void {
    const precision = this.#precision;
    const count = length / DTYPE_BYTES[precision];
    this.meter.see(page, base, address, count, precision);
    page.arena.kernels.lerp[precision][precision](address, base, address, count, this.advance.weight);
  }
}

/** Whether each element of the byte space and of the shadow has the same place on the pages of the same index. */
function liesAsTheWire({ spec, plane, table }: Shadow, plan: WirePlan, pageCount: number): boolean {
  if (plan.segments.length !== 1 || plan.firstStepBytes !== plan.stepBytes) return false;
  const segment = plan.segments.at(0);
  assert(segment.stepOffset === 0 && segment.flat === 0, 'a space begins with its first segment');
  const isWhole = spec.include.length === 0 && spec.exclude.length === 0;
  return isWhole && segment.dtype === plane.dtype && table.length === pageCount;
}
