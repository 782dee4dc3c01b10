import { assert, DTYPE_BYTES, type FloatDType, type Precision } from '../../common/index.js';
import type { Segment, Segments } from '../layout/segments.js';
import { SCRATCH_BYTES } from '../memory/arena.js';
import type { Page } from '../memory/page-pool.js';
import type { PageTable, Plane } from '../memory/plane.js';
import { pageAt } from '../memory/tables.js';
import type { MovementMeter } from './movement.js';

/**
 * Number of elements that are folded into all averages while their source is in the cache: at most 256 KiB of wire bytes.
 */
const TILE_ELEMENTS = SCRATCH_BYTES / DTYPE_BYTES.F64;

/**
 * Elements folded into one average before the next has its turn: a page of the system (4 KiB) of float32. The processor
 * looks ahead inside of one only; longer strips cost three averages 70 % more (bench averages), shorter ones are calls.
 */
const STRIP_ELEMENTS = 1_024;

/** Elements between two yields: some 40 microseconds of SIMD, some 10 milliseconds of the scalar reference. */
const YIELD_ELEMENTS = 1 << 17;

/** One plane of a fold. The fold reads `base` and writes `target`; a page that both have is folded in place. */
export interface FoldTarget {
  readonly plane: Plane;
  readonly base: PageTable;
  readonly target: PageTable;
  /** The weight w_k of the update. 1 assigns; 0 holds, and the target is the base then. */
  readonly weight: number;
  /** Measures a sample of what is blended; undefined for the copied plane. */
  readonly meter: MovementMeter | undefined;
}

/**
 * Folds a whole step: the staged bytes of `segments` into every target (one per average, then the copied one), tile by
 * tile. Yields between slices so that the caller can let others run; nothing it does can fail, because all memory was
 * allocated before.
 */
export function* foldStep(
  segments: Segments,
  staging: readonly Page[],
  stagingPageBytes: number,
  targets: readonly FoldTarget[],
  yieldElements = YIELD_ELEMENTS,
): Generator<void> {
  let elements = 0;
  for (const segment of segments) {
    const size = segment.dtype === undefined ? 1 : DTYPE_BYTES[segment.dtype];
    const tileMax = segment.dtype === undefined ? SCRATCH_BYTES : TILE_ELEMENTS;
    const folded = targetsOf(segment, targets);
    for (let done = 0; done < segment.count; ) {
      const wireAt = segment.stepOffset + done * size;
      const page = staging[Math.floor(wireAt / stagingPageBytes)];
      assert(page !== undefined, 'the byte space is staged whole');
      const within = wireAt % stagingPageBytes;
      const count = Math.min(segment.count - done, (stagingPageBytes - within) / size, tileMax);
      const source = { page, address: page.address + within, dtype: segment.dtype };
      foldTile(folded, segment.flat + done, count, source);
      done += count;
      elements += count;
      if (elements >= yieldElements) {
        elements = 0;
        yield;
      }
    }
  }
}

/** The targets that a segment is folded into, without those that a weight of 0 leaves as they are. */
function targetsOf({ dtype, averages }: Segment, targets: readonly FoldTarget[]): FoldTarget[] {
  return targets.filter(({ plane, weight }, index) => {
    if (plane.dtype === undefined || dtype === undefined) return plane.dtype === dtype;
    return weight !== 0 && (averages & (1 << index)) !== 0;
  });
}

/**
 * Copies the old contents to the fresh pages of a fold that leaves tensors out, because what the fold does not write must
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

/** Folds some elements of a tile, counted from where it begins, into one target. */
type Strip = (at: number, count: number) => void;

/** Folds `count` elements at `flat`, in parts that end where a page of any plane ends. */
function foldTile(targets: readonly FoldTarget[], flat: number, count: number, source: Source): void {
  const size = source.dtype === undefined ? 1 : DTYPE_BYTES[source.dtype];
  for (let done = 0; done < count; ) {
    const at = flat + done;
    const part = targets.reduce(
      (least, { plane }) => Math.min(least, plane.pageElements - (at % plane.pageElements)),
      count - done,
    );
    foldPart(targets, at, part, { ...source, address: source.address + done * size });
    done += part;
  }
}

/** Folds all averages in turns, strip by strip. A single average is folded in one go, which is fastest. */
function foldPart(targets: readonly FoldTarget[], flat: number, count: number, source: Source): void {
  const strips = targets.map((target) => stripOf(target, flat, count, source));
  const stripMax = strips.length === 1 ? count : STRIP_ELEMENTS;
  for (let at = 0; at < count; at += stripMax) {
    const length = Math.min(stripMax, count - at);
    for (const strip of strips) strip(at, length);
  }
}

function stripOf(
  { plane, base, target, weight, meter }: FoldTarget,
  flat: number,
  count: number,
  source: Source,
): Strip {
  const page = pageAt(target, plane, flat);
  const offset = (flat % plane.pageElements) * plane.elementBytes;
  const dst = page.address + offset;
  const { arena } = page;
  const { dtype } = source;
  if (plane.dtype === undefined || dtype === undefined) {
    const from = nearby(page, source, count);
    return (at, length) => arena.copyWithin(dst + at, from + at, length);
  }
  const [size, elementBytes] = [DTYPE_BYTES[dtype], plane.elementBytes];
  const src = nearby(page, source, count * size);
  if (weight === 1) {
    // An assignment, never arithmetic: ∞ and NaN of the old shadow must not leak through.
    const assign = arena.kernels.cast[dtype][plane.dtype];
    return (at, length) => assign(dst + at * elementBytes, src + at * size, length);
  }
  const from = baseAddress(page, pageAt(base, plane, flat), offset, count * elementBytes);
  meter?.see(page, from, src, count, dtype);
  // Only the planes of averages are folded, and their dtype is the precision of their arithmetic.
  const lerp = arena.kernels.lerp[plane.dtype as Precision][dtype];
  return (at, length) => lerp(dst + at * elementBytes, from + at * elementBytes, src + at * size, length, weight);
}

/** Address of the source in the arena of `page`; a source elsewhere is copied into that arena's scratch. */
function nearby(page: Page, { page: sourcePage, address }: Source, bytes: number): number {
  if (sourcePage.arena === page.arena) return address;
  page.arena.bytes(0, bytes).set(sourcePage.arena.bytes(address, bytes));
  return 0;
}

/** Address of the base in the arena of `page`; a base elsewhere is copied to the target and folded there in place. */
function baseAddress(page: Page, base: Page, offset: number, bytes: number): number {
  if (base.arena === page.arena) return base.address + offset;
  const dst = page.address + offset;
  page.arena.bytes(dst, bytes).set(base.arena.bytes(base.address + offset, bytes));
  return dst;
}
