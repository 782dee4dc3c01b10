import { type FloatDType, ShadowkeepError } from '../../../src/common/index.js';
import { type Reader, Run, type RunSpec, readBytes, type Version, type Writer } from '../../../src/engine/index.js';
import type { Ledger } from '../../../src/engine/ledger.js';
import type { RunOptions } from '../../../src/engine/run-spec.js';
import type { KernelMode } from '../../../src/kernels/index.js';
import { planOf } from '../fixtures.js';
import { NaiveRun, type NaiveVersion, type Numbers } from './naive-run.js';
import type { Random } from './random.js';

/** What the ledger counts of a page beside its bytes: room for its skew. */
const SLOT_EXTRA_BYTES = 4_096;

export interface OpenWriter {
  readonly engine: Writer;
  readonly wireDType: FloatDType | undefined;
  readonly failures: ShadowkeepError[];
  /** The step that is being sent; `sent` bytes of it have been staged. */
  sending: { readonly step: number; readonly space: Buffer; sent: number } | undefined;
}

export interface OpenReader {
  readonly engine: Reader;
  readonly naive: NaiveVersion;
}

/** A run of the engine beside the naive one, and what a client of it holds. */
export class Subject {
  readonly run: Run;
  readonly naive: NaiveRun;
  readonly pageBytes: number;
  writer: OpenWriter | undefined;
  readers: OpenReader[] = [];

  constructor(spec: RunSpec, ledger: Ledger, mode: KernelMode, options: RunOptions) {
    this.run = new Run(spec, ledger, mode, options);
    this.naive = new NaiveRun(spec);
    const { plane } = this.run.head.shadows[0]!;
    this.pageBytes = plane.pageElements * plane.elementBytes;
  }

  pin(version: Version, naive: NaiveVersion): void {
    this.readers.push({ engine: this.run.pin(version), naive });
  }

  /** The versions that readers hold, oldest first. */
  get heldVersions(): Version[] {
    const held = this.readers.filter(({ engine }) => engine.evicted === undefined).map(({ engine }) => engine.version);
    return [...new Set(held)].sort((a, b) => a.id - b.id);
  }

  /** What the ledger should hold for this run. */
  get reservedBytes(): number {
    const { shadowBytes, stagingBytes, pinnedBytes, freeBytes } = this.run.memory;
    return this.slotBytes((shadowBytes + stagingBytes + pinnedBytes + freeBytes) / this.pageBytes);
  }

  /** What the run and one step in flight take. */
  get neededBytes(): number {
    return this.slotBytes(this.run.memory.shadowBytes / this.pageBytes + this.stagingPages(undefined, true));
  }

  slotBytes(pages: number): number {
    return pages * (this.pageBytes + SLOT_EXTRA_BYTES);
  }

  stagingPages(wireDType: FloatDType | undefined, withOnce = this.run.committedStep === undefined): number {
    return Math.ceil(this.naive.stepBytes(wireDType, withOnce) / this.pageBytes);
  }

  /** Reads each held version and the head, in pieces of a random size, and compares them with the naive ones. */
  checkBytes(random: Random, withHead: boolean): void {
    for (const { engine, naive } of this.readers) {
      if (engine.evicted === undefined) this.checkVersion(random, engine.version, naive);
    }
    if (withHead) this.checkVersion(random, this.run.head, this.naive.head);
  }

  private checkVersion(random: Random, version: Version, naive: NaiveVersion): void {
    same(version.step, naive.step, 'step');
    sameAll(
      version.shadows.map(({ state }) => state.numUpdates),
      naive.numUpdates,
      'updates',
    );
    for (const average of version.shadows.keys()) {
      const plan = planOf(this.run, version, average);
      const expected = this.naive.space(naive, average);
      const found = Buffer.alloc(expected.length, 0xa5);
      const pieceBytes = 16 * random.between(1, 600);
      same(plan.totalBytes, expected.length, 'bytes of a read');
      for (let at = 0; at < found.length; at += pieceBytes) {
        readBytes(plan, at, found.subarray(at, at + pieceBytes));
      }
      if (!found.equals(expected)) this.explain(plan, found, expected, version);
    }
  }

  /** Any NaN is the same NaN; everything else is told with its place, gaps too. */
  private explain(plan: ReturnType<typeof planOf>, found: Buffer, expected: Buffer, version: Version): void {
    const gaps = Uint8Array.from(found);
    for (const { tensor, dtype, offset, bytes } of plan.tensors) {
      gaps.fill(0, offset, offset + bytes);
      const [a, b] = [found, expected].map((space) => Uint8Array.from(space.subarray(offset, offset + bytes)).buffer);
      const isAveraged = tensor.policy === 'AVERAGE';
      const numbers = (buffer: ArrayBuffer): Numbers | Uint8Array => {
        if (!isAveraged) return new Uint8Array(buffer);
        return dtype === 'F32' ? new Float32Array(buffer) : new Float64Array(buffer);
      };
      sameAll(numbers(a!), numbers(b!), `tensor ${tensor.name} of step ${version.step}`);
    }
    same(
      gaps.findIndex((byte) => byte !== 0),
      -1,
      'gap that is not zero',
    );
  }

  /** Reference counts, and the run's own account of its memory; no fold may be under way. */
  checkPages(): void {
    const live = [...new Set([...this.heldVersions, this.run.head])];
    const refs = new Map<object, number>();
    for (const version of live) for (const page of version.pages()) refs.set(page, (refs.get(page) ?? 0) + 1);
    for (const version of live) {
      const pages = [...version.pages()];
      same(new Set(pages).size, pages.length, 'different pages');
      sameAll(
        pages.map((page) => page.refs),
        pages.map((page) => refs.get(page)),
        'references of a page',
      );
    }
    const headPages = [...this.run.head.pages()].length;
    const { shadowBytes, stagingBytes, pinnedBytes, freeBytes } = this.run.memory;
    const stagingPages = this.writer === undefined ? 0 : this.stagingPages(this.writer.wireDType);
    same(shadowBytes, headPages * this.pageBytes, 'shadow bytes');
    same(stagingBytes, stagingPages * this.pageBytes, 'staging bytes');
    same(pinnedBytes, (refs.size - headPages) * this.pageBytes, 'pinned bytes');
    same(freeBytes >= 0, true, 'free bytes are not negative');
  }
}

/** The reason of the refusal, or undefined when there was none; anything else than a refusal is thrown on. */
export function refusalOf(action: () => void): ShadowkeepError | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof ShadowkeepError) return error;
    throw error;
  }
}

// Plain comparisons: these run a million times, an `expect` takes microseconds.

function same(found: unknown, expected: unknown, what: string): void {
  if (!Object.is(found, expected)) throw new Error(`${what}: ${found}, not ${expected}`);
}

function sameAll(found: ArrayLike<unknown>, expected: ArrayLike<unknown>, what: string): void {
  same(found.length, expected.length, `number of ${what}`);
  for (let i = 0; i < found.length; i++)
    if (!Object.is(found[i], expected[i])) same(found[i], expected[i], `${what} [${i}]`);
}
