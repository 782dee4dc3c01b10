import { assert, DTYPE_BYTES, type FloatDType, type Precision } from '../../common/index.js';
import { ARENA_BYTES_MAX } from './arena.js';
import type { Page } from './page-pool.js';

/**
 * One flat space of a run in one dtype: the shadow of one average, a snapshot of it, or the bytes of the copied tensors.
 * Its tables (one per version) name the page of each piece.
 */
export interface Plane {
  /** Undefined for copied bytes. */
  readonly dtype: FloatDType | undefined;
  readonly elementBytes: number;
  readonly pageElements: number;
  readonly pageCount: number;
  /** Elements that live in one arena before the next arena begins. */
  readonly homeElements: number;
}

/** The plane of an average: its dtype is the precision of its arithmetic. */
export interface ShadowPlane extends Plane {
  readonly dtype: Precision;
}

/** A page for each piece of a plane; undefined where no tensor of it lies. */
export type PageTable = readonly (Page | undefined)[];

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

/** Cuts the flat spaces of a run into pages, and spreads the pages over arenas. */
export class PlaneShape {
  readonly pageBytes: number;
  readonly #fillBytes: number;
  readonly #homeElements: number;

  /**
   * `precisions` are those of the averages that the run is opened with; one that is added later spills into free room.
   */
  constructor(precisions: readonly Precision[], pageBytes: number, arenaBytesMax = ARENA_BYTES_MAX) {
    this.pageBytes = pageBytes;
    this.#fillBytes = ARENA_FILL * arenaBytesMax;
    // Per element: every shadow, its copy while a reader pins it, and one step in flight.
    const shadowBytes = precisions.reduce((sum, precision) => sum + DTYPE_BYTES[precision], 0);
    const share = this.#fillBytes / (2 * shadowBytes + DTYPE_BYTES.F64);
    this.#homeElements = Math.floor(share / pageBytes) * pageBytes;
    assert(this.#homeElements > 0, 'an arena holds at least one page of each plane');
  }

  /** A plane of `length` elements. */
  plane<DType extends FloatDType>(dtype: DType, length: number): Plane & { readonly dtype: DType } {
    const elementBytes = DTYPE_BYTES[dtype];
    return { dtype, elementBytes, homeElements: this.#homeElements, ...this.#pages(elementBytes, length) };
  }

  copiedPlane(lengthBytes: number): Plane {
    return { dtype: undefined, elementBytes: 1, homeElements: this.#fillBytes, ...this.#pages(1, lengthBytes) };
  }

  #pages(elementBytes: number, length: number): { pageElements: number; pageCount: number } {
    const pageElements = this.pageBytes / elementBytes;
    return { pageElements, pageCount: Math.ceil(length / pageElements) };
  }
}

/** The arena where the element at `flat` should live. */
export function homeOf(plane: Plane, flat: number): number {
  return Math.floor(flat / plane.homeElements);
}

/** The arena of a page of a plane. */
export function homeOfPage(plane: Plane, index: number): number {
  return homeOf(plane, index * plane.pageElements);
}
