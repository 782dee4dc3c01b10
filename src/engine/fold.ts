import { assert, DTYPE_BYTES, type FloatDType, type Precision } from '../common/index.js';
import { SCRATCH_BYTES } from './arena.js';
import type { MovementMeter } from './movement.js';
import type { Page } from './page-pool.js';
import type { PageTable, Plane } from './plane.js';
import { pageAt } from './tables.js';
import type { Segment } from './wire-plan.js';

/** Elements folded into all averages while their source is in the cache: at most 256 KiB of wire bytes. */
const TILE_ELEMENTS = SCRATCH_BYTES / DTYPE_BYTES.F64;

/** Elements between two yields: some 40 microseconds of SIMD, some 10 milliseconds of the scalar reference. */
export const YIELD_ELEMENTS = 1 << 17;

/** One plane of a fold: reads `base`, writes `target`; the same page in both is folded in place. */
export interface FoldTarget {
  readonly plane: Plane;
  readonly base: PageTable;
  readonly target: PageTable;
  /** w_k; 1 assigns, 0 holds (its target is its base). */
  readonly weight: number;
  /** Looks at a sample of what is blended. */
  readonly meter: MovementMeter | undefined;
}

/**
 * Folds a whole step: the staged bytes of `segments` into every target (one per average, then the copied one), tile by
 * tile. Yields between slices so that the caller can let others run; nothing it does can fail, because all memory was
 * allocated before.
 */
export function* foldStep(
  segments: readonly Segment[],
  staging: readonly Page[],
  stagingPageBytes: number,
  targets: readonly FoldTarget[],
  yieldElements = YIELD_ELEMENTS,
): Generator<void> {
  const copied = targets.filter(({ plane }) => plane.dtype === undefined);
  let elements = 0;
  for (const segment of segments) {
    const size = segment.dtype === undefined ? 1 : DTYPE_BYTES[segment.dtype];
    const tileMax = segment.dtype === undefined ? SCRATCH_BYTES : TILE_ELEMENTS;
    const folded =
      segment.dtype === undefined
        ? copied
        : targets.filter(({ plane, weight }, index) => {
            return plane.dtype !== undefined && weight !== 0 && (segment.averages & (1 << index)) !== 0;
          });
    for (let done = 0; done < segment.count; ) {
      const wireAt = segment.wireOffset + done * size;
      const page = staging[Math.floor(wireAt / stagingPageBytes)];
      assert(page !== undefined, 'the byte space is staged whole');
      const within = wireAt % stagingPageBytes;
      const count = Math.min(segment.count - done, (stagingPageBytes - within) / size, tileMax);
      const source = { page, address: page.address + within, dtype: segment.dtype };
      for (const target of folded) foldTile(target, segment.flat + done, count, source);
      done += count;
      elements += count;
      if (elements >= yieldElements) {
        elements = 0;
        yield;
      }
    }
  }
}

/**
 * Copies what is folded onto fresh pages there first, for a fold that leaves tensors out: what it does not write must
 * be what it was.
 */
export function* copyBases(targets: readonly FoldTarget[], pageBytes: number): Generator<void> {
  for (const { base, target } of targets) {
    for (const [index, page] of target.entries()) {
      const from = base[index];
      if (page === undefined || from === undefined || page === from) continue;
      page.arena.bytes(page.address, pageBytes).set(from.arena.bytes(from.address, pageBytes));
      yield;
    }
  }
}

interface Source {
  readonly page: Page;
  readonly address: number;
  readonly dtype: FloatDType | undefined;
}

/** Folds `count` elements at `flat`, cut where the plane's pages are. */
function foldTile(target: FoldTarget, flat: number, count: number, source: Source): void {
  const { plane } = target;
  const size = source.dtype === undefined ? 1 : DTYPE_BYTES[source.dtype];
  for (let done = 0; done < count; ) {
    const page = pageAt(target.target, plane, flat + done);
    const base = pageAt(target.base, plane, flat + done);
    const within = (flat + done) % plane.pageElements;
    const part = Math.min(count - done, plane.pageElements - within);
    const src = nearby(page, source, source.address + done * size, part * size);
    foldPart(target, page, base, within * plane.elementBytes, src, part, source.dtype);
    done += part;
  }
}

function foldPart(
  { plane, weight, meter }: FoldTarget,
  page: Page,
  base: Page,
  offset: number,
  src: number,
  count: number,
  dtype: FloatDType | undefined,
): void {
  const { kernels } = page.arena;
  const dst = page.address + offset;
  if (plane.dtype === undefined || dtype === undefined) {
    page.arena.copyWithin(dst, src, count);
  } else if (weight === 1) {
    // An assignment, never arithmetic: ∞ and NaN of the old shadow must not leak through.
    kernels.cast[dtype][plane.dtype](dst, src, count);
  } else {
    const from = baseAddress(page, base, offset, count * plane.elementBytes);
    meter?.see(page, from, src, count, dtype);
    // Only the planes of averages are folded, and their dtype is the precision of their arithmetic.
    kernels.lerp[plane.dtype as Precision][dtype](dst, from, src, count, weight);
  }
}

/** Address of the source in the arena of `page`; a source elsewhere is copied into that arena's scratch. */
function nearby(page: Page, source: Source, address: number, bytes: number): number {
  if (source.page.arena === page.arena) return address;
  page.arena.bytes(0, bytes).set(source.page.arena.bytes(address, bytes));
  return 0;
}

/** Address of the base in the arena of `page`; a base elsewhere is copied to the target and folded there in place. */
function baseAddress(page: Page, base: Page, offset: number, bytes: number): number {
  if (base.arena === page.arena) return base.address + offset;
  const dst = page.address + offset;
  page.arena.bytes(dst, bytes).set(base.arena.bytes(base.address + offset, bytes));
  return dst;
}
