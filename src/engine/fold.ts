import { assert, DTYPE_BYTES, type FloatDType } from '../common/index.js';
import { SCRATCH_BYTES } from './arena.js';
import type { Segment } from './layout.js';
import type { Page } from './page-pool.js';
import type { PageTable, Plane } from './plane.js';

/** Elements folded into all averages while their source is in the cache: at most 256 KiB of wire bytes. */
const TILE_ELEMENTS = SCRATCH_BYTES / DTYPE_BYTES.F64;

/** Elements between two yields: some 40 microseconds of SIMD, some 10 milliseconds of the scalar reference. */
const YIELD_ELEMENTS = 1 << 17;

/** One plane of a fold: reads `base`, writes `target`; the same page in both is folded in place. */
export interface FoldTarget {
  readonly plane: Plane;
  readonly base: PageTable;
  readonly target: PageTable;
  /** w_k; 1 assigns, 0 holds (its target is its base). */
  readonly weight: number;
}

/**
 * Folds a whole step: the staged bytes of `segments` into every target, tile by tile. Yields between slices so that the
 * caller can let others run; nothing it does can fail, because all memory was allocated before.
 */
export function* foldStep(
  segments: readonly Segment[],
  staging: readonly Page[],
  stagingPageBytes: number,
  targets: readonly FoldTarget[],
  yieldElements = YIELD_ELEMENTS,
): Generator<void> {
  const averaged = targets.filter(({ plane }) => plane.precision !== undefined);
  const copied = targets.filter(({ plane }) => plane.precision === undefined);
  let elements = 0;
  for (const segment of segments) {
    const size = segment.dtype === undefined ? 1 : DTYPE_BYTES[segment.dtype];
    const tileMax = segment.dtype === undefined ? SCRATCH_BYTES : TILE_ELEMENTS;
    for (let done = 0; done < segment.count; ) {
      const wireAt = segment.wireOffset + done * size;
      const page = staging[Math.floor(wireAt / stagingPageBytes)];
      assert(page !== undefined, 'the byte space is staged whole');
      const within = wireAt % stagingPageBytes;
      const count = Math.min(segment.count - done, (stagingPageBytes - within) / size, tileMax);
      const source = { page, address: page.address + within, dtype: segment.dtype };
      for (const target of segment.dtype === undefined ? copied : averaged) {
        foldTile(target, segment.flat + done, count, source);
      }
      done += count;
      elements += count;
      if (elements >= yieldElements) {
        elements = 0;
        yield;
      }
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
  const { plane, weight } = target;
  if (weight === 0) return;
  const size = source.dtype === undefined ? 1 : DTYPE_BYTES[source.dtype];
  for (let done = 0; done < count; ) {
    const index = Math.floor((flat + done) / plane.pageElements);
    const within = (flat + done) % plane.pageElements;
    const part = Math.min(count - done, plane.pageElements - within);
    const page = target.target[index];
    const base = target.base[index];
    assert(page !== undefined && base !== undefined, 'a segment lies inside its plane');
    const offset = within * plane.elementBytes;
    const src = nearby(page, source, source.address + done * size, part * size);
    foldPart(target, page, base, offset, src, part, source.dtype);
    done += part;
  }
}

function foldPart(
  { plane, weight }: FoldTarget,
  page: Page,
  base: Page,
  offset: number,
  src: number,
  count: number,
  dtype: FloatDType | undefined,
): void {
  const { kernels } = page.arena;
  const dst = page.address + offset;
  if (plane.precision === undefined || dtype === undefined) {
    page.arena.copyWithin(dst, src, count);
  } else if (weight === 1) {
    // An assignment, never arithmetic: ∞ and NaN of the old shadow must not leak through.
    kernels.cast[dtype][plane.precision](dst, src, count);
  } else {
    kernels.lerp[plane.precision][dtype](
      dst,
      baseAddress(page, base, offset, count * plane.elementBytes),
      src,
      count,
      weight,
    );
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
