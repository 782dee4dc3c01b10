import { type FloatDType, ShadowkeepError } from '../../../src/common/index.js';
import {
  type Reader,
  Run,
  type TrainerRequest,
  type Version,
  type WriterRequest,
  type WriterStream,
} from '../../../src/engine/index.js';
import type { Ledger } from '../../../src/engine/memory/ledger.js';
import type { RunOptions } from '../../../src/engine/run-spec.js';
import type { KernelMode } from '../../../src/kernels/index.js';
import type { ListedSpec } from '../fixtures.js';
import { checkVersion, same, sameAll } from './compare.js';
import { NaiveRun, type NaiveVersion } from './naive-run.js';
import type { Random } from './random.js';

/** What the ledger counts of a page beside its bytes: room for its skew. */
const SLOT_EXTRA_BYTES = 4_096;

export interface OpenWriter {
  readonly engine: WriterStream;
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

  constructor(spec: ListedSpec, ledger: Ledger, mode: KernelMode, options: RunOptions) {
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
      if (engine.evicted === undefined) checkVersion(this.run.layout, this.naive, engine.version, naive, random);
    }
    if (withHead) checkVersion(this.run.layout, this.naive, this.run.head, this.naive.head, random);
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

/** What the only process of a trainer opens the run with. */
export function lifeOf(incarnation: string): TrainerRequest {
  return { incarnation, writers: 1, resumeStep: undefined, trainerStep: undefined };
}

/** What it opens its stream with. */
export function requestOf({ generation }: Run, wireDType: FloatDType | undefined): WriterRequest {
  return { generation, writer: 0, boxes: undefined, wireDType, takeover: false, session: '' };
}
