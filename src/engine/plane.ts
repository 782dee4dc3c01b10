import { assert, DTYPE_BYTES, type Precision } from '../common/index.js';
import { ARENA_BYTES_MAX } from './arena.js';
import type { Page } from './page-pool.js';

/**
 * One flat space of a run in one precision: the shadow of one average, or the bytes of the copied tensors. Its tables
 * (one per version) name the page of each piece.
 */
export interface Plane {
  /** Undefined: copied bytes. */
  readonly precision: Precision | undefined;
  readonly elementBytes: number;
  readonly pageElements: number;
  readonly pageCount: number;
  /** Elements that live in one arena before the next arena begins. */
  readonly homeElements: number;
}

export type PageTable = readonly Page[];

/** Page sizes: 1 MiB keeps a copy-on-write step small and a table short; a small run takes smaller ones. */
const PAGE_BYTES_MAX = 1 << 20;
const PAGE_BYTES_MIN = 1 << 12;

/** Share of an arena that a run's steady state fills: the rest takes what pinned readers make it copy. */
const ARENA_FILL = 7 / 8;

/** The smallest power of two that holds the largest flat space of the run, within the bounds. */
export function pageBytesFor(averagedLength: number, copiedLength: number, bytesMax = PAGE_BYTES_MAX): number {
  const largest = Math.max(averagedLength * DTYPE_BYTES.F64, copiedLength);
  let bytes = PAGE_BYTES_MIN;
  while (bytes < largest && bytes < bytesMax) bytes *= 2;
  return bytes;
}

/** A run's planes: one per precision given, then the copied one. */
export function createPlanes(
  precisions: readonly Precision[],
  averagedLength: number,
  copiedLength: number,
  pageBytes: number,
  arenaBytesMax = ARENA_BYTES_MAX,
): Plane[] {
  // Per element: every shadow, its copy while a reader pins it, and one step in flight.
  const shadowBytes = precisions.reduce((sum, precision) => sum + DTYPE_BYTES[precision], 0);
  const fillBytes = ARENA_FILL * arenaBytesMax;
  const share = fillBytes / (2 * shadowBytes + DTYPE_BYTES.F64);
  const homeElements = Math.floor(share / pageBytes) * pageBytes;
  const plane = (precision: Precision | undefined, length: number, home: number): Plane => {
    const elementBytes = precision === undefined ? 1 : DTYPE_BYTES[precision];
    const pageElements = pageBytes / elementBytes;
    return { precision, elementBytes, pageElements, pageCount: Math.ceil(length / pageElements), homeElements: home };
  };
  assert(homeElements > 0, 'an arena holds at least one page of each plane');
  return [
    ...precisions.map((precision) => plane(precision, averagedLength, homeElements)),
    plane(undefined, copiedLength, fillBytes),
  ];
}

/** The arena where the element at `flat` should live. */
export function homeOf(plane: Plane, flat: number): number {
  return Math.floor(flat / plane.homeElements);
}

/** The arena of a page of a plane. */
export function homeOfPage(plane: Plane, index: number): number {
  return homeOf(plane, index * plane.pageElements);
}
