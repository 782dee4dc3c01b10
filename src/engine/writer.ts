import { assert, CHUNK_BYTES_MAX, CHUNK_CUT_BYTES, DTYPE_BYTES, ShadowkeepError } from '../common/index.js';
import { SKEW } from './arena.js';
import type { FoldAhead } from './fold-ahead.js';
import { type NonFinitePolicy, NonFiniteScan } from './non-finite.js';
import type { Page, PagePool } from './page-pool.js';
import { homeOf, type Plane } from './plane.js';
import type { WirePlan } from './wire-plan.js';

/**
 * One writer's stream: stages the bytes of one step at a time as they come, in the wire's dtype, until the step is whole.
 * Staging pages are taken when the stream opens, so that a step that has begun cannot run out of memory, and lie in the
 * arena of the shadow that they will be folded into.
 */
export class Writer {
  readonly generation: number;
  readonly plan: WirePlan;
  /** What is not finite in the step being received. */
  readonly nonFinite: NonFiniteScan;
  /** Folds the step being received as it arrives, where that is possible. */
  #ahead: FoldAhead | undefined;
  readonly #beginAhead: (writer: Writer, step: number) => FoldAhead | undefined;
  readonly #pool: PagePool;
  #pages: readonly Page[];
  readonly #onFailure: (error: ShadowkeepError) => void;
  #step: number | undefined;
  #receivedBytes = 0;
  #failure: ShadowkeepError | undefined;
  #isOpen = true;

  /**
   * `isFirst`: nothing is committed, so the tensors of policy COPY_ONCE are staged too. `plane` is one of the planes that
   * the step is folded into.
   */
  constructor(
    pool: PagePool,
    plan: WirePlan,
    plane: Plane | undefined,
    settings: {
      readonly generation: number;
      readonly isFirst: boolean;
      readonly nonFinite: NonFinitePolicy;
      readonly beginAhead: (writer: Writer, step: number) => FoldAhead | undefined;
    },
    onFailure: (error: ShadowkeepError) => void,
  ) {
    this.generation = settings.generation;
    this.#onFailure = onFailure;
    this.#beginAhead = settings.beginAhead;
    this.#pool = pool;
    this.plan = plan;
    this.nonFinite = new NonFiniteScan(plan, settings.nonFinite);
    const stagedBytes = settings.isFirst ? plan.firstStepBytes : plan.stepBytes;
    const homes = stagingHomes(plan, stagedBytes, pool.pageBytes, plane);
    this.#pages = pool.allocate(
      homes.map((home) => ({ home, skew: SKEW.staging })),
      'one step in flight',
    );
  }

  get pages(): readonly Page[] {
    return this.#pages;
  }

  get stagingBytes(): number {
    return this.#pages.length * this.#pool.pageBytes;
  }

  get ahead(): FoldAhead | undefined {
    return this.#ahead;
  }

  /** The staging pages are a shadow's now, and these are staging. */
  exchangePages(pages: readonly Page[]): void {
    this.#pages = pages;
  }

  /** The step being received, if one has begun. */
  get step(): number | undefined {
    return this.#step;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Throws what ended this stream from outside (a newer generation, the run's deletion), if anything did. */
  checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    assert(this.#isOpen, 'a closed writer is not used');
  }

  /** Takes the next chunk of a step. Refuses it whole, before a byte is staged, or takes it whole. */
  stage(step: number, offset: number, data: Uint8Array): void {
    this.checkOpen();
    this.checkStep(step);
    this.#checkRange(step, offset, data.length);
    if (this.#step === undefined) this.#ahead = this.#beginAhead(this, step);
    this.#step = step;
    // Tensors of policy COPY_ONCE that the run has already lie past the pages: they are counted and dropped.
    const staged = Math.min(data.length, this.#pages.length * this.#pool.pageBytes - offset);
    for (let done = 0; done < staged; ) {
      const at = offset + done;
      const page = this.#pages[Math.floor(at / this.#pool.pageBytes)];
      assert(page !== undefined, 'the range was checked');
      const within = at % this.#pool.pageBytes;
      const address = page.address + within;
      const length = Math.min(staged - done, this.#pool.pageBytes - within);
      page.arena.bytes(address, length).set(data.subarray(done, done + length));
      this.nonFinite.scan({ page, address, offset: at, length });
      this.#ahead?.fold(page, address, at, length);
      done += length;
    }
    this.#receivedBytes = offset + data.length;
  }

  /**
   * Throws unless `step` has arrived whole and `bytes` is its length: that of the first step while `isFirst`, afterwards
   * that or the one without the tensors of policy COPY_ONCE. An empty layout's step has no chunks.
   */
  checkWhole(step: number, bytes: number, isFirst: boolean): void {
    this.checkOpen();
    this.checkStep(step);
    const { stepBytes, firstStepBytes } = this.plan;
    const isLength = bytes === firstStepBytes || (bytes === stepBytes && !isFirst);
    if (isLength && this.#receivedBytes === bytes) return;
    const wanted = isFirst ? firstStepBytes : stepBytes;
    const once = isFirst && firstStepBytes > stepBytes ? ', with the tensors that are sent once' : '';
    throw new ShadowkeepError(
      'STEP_INCOMPLETE',
      `commit of step ${step} says ${bytes} bytes and ${this.#receivedBytes} arrived, a step of this writer has ${wanted}${once}`,
      { metadata: { step, saidBytes: bytes, receivedBytes: this.#receivedBytes, stepBytes: wanted } },
    );
  }

  /** The tensors of policy COPY_ONCE are in the run: gives back what only they were staged on. */
  dropOnce(): void {
    const kept = Math.ceil(this.plan.stepBytes / this.#pool.pageBytes);
    for (const page of this.#pages.slice(kept)) this.#pool.free(page);
    this.#pages = this.#pages.slice(0, kept);
  }

  /** Forgets the step in flight. */
  reset(): void {
    this.#step = undefined;
    this.#receivedBytes = 0;
    this.#ahead = undefined;
    this.nonFinite.reset();
  }

  /** Frees the staging; what was staged leaves no trace. Idempotent. `failure` tells the stream's owner why. */
  close(failure?: ShadowkeepError): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#failure = failure;
    if (failure !== undefined) this.#onFailure(failure);
    for (const page of this.#pages) this.#pool.free(page);
    // A new array: a fold that is under way when its run is deleted still holds the old one.
    this.#pages = [];
    this.reset();
  }

  /** Throws STEP_MISMATCH when another step is being received. */
  checkStep(step: number): void {
    if (this.#step === undefined || step === this.#step) return;
    throw new ShadowkeepError('STEP_MISMATCH', `step ${step} came while step ${this.#step} is being received`, {
      metadata: { step, expectedStep: this.#step },
    });
  }

  #checkRange(step: number, offset: number, length: number): void {
    const { firstStepBytes: totalBytes } = this.plan;
    const end = offset + length;
    const metadata = { step, offset, length, receivedBytes: this.#receivedBytes, stepBytes: totalBytes };
    const fail = (reason: ConstructorParameters<typeof ShadowkeepError>[0], problem: string): never => {
      throw new ShadowkeepError(reason, `chunk of step ${step} at offset ${offset} with ${length} bytes ${problem}`, {
        metadata,
      });
    };
    if (length > CHUNK_BYTES_MAX) fail('INVALID_FIELD', `is larger than ${CHUNK_BYTES_MAX}`);
    if (length === 0) fail('INVALID_FIELD', 'is empty');
    if (end > totalBytes) fail('CHUNK_PAST_END', `ends past the step's ${totalBytes}`);
    if (offset > this.#receivedBytes) fail('CHUNK_GAP', `leaves a gap, ${this.#receivedBytes} bytes have arrived`);
    if (offset < this.#receivedBytes) fail('CHUNK_OVERLAP', `overlaps, ${this.#receivedBytes} bytes have arrived`);
    if (end % CHUNK_CUT_BYTES !== 0) fail('CHUNK_UNALIGNED', `does not end on a multiple of ${CHUNK_CUT_BYTES}`);
  }
}

/** Each staging page goes where the first averaged element of its bytes lives. */
function stagingHomes(plan: WirePlan, stagedBytes: number, pageBytes: number, plane: Plane | undefined): number[] {
  const homes: number[] = new Array(Math.ceil(stagedBytes / pageBytes)).fill(0);
  if (plane === undefined) return homes;
  let next = 0;
  for (const segment of plan.segments) {
    const from = Math.floor(segment.wireOffset / pageBytes);
    if (segment.dtype === undefined) continue;
    const size = DTYPE_BYTES[segment.dtype];
    const to = Math.ceil((segment.wireOffset + segment.count * size) / pageBytes);
    for (let page = Math.max(from, next); page < to; page++) {
      const element = segment.flat + Math.max(0, page * pageBytes - segment.wireOffset) / size;
      homes[page] = homeOf(plane, element);
    }
    next = Math.max(next, to);
  }
  return homes;
}
