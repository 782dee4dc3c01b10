import {
  assert,
  CHUNK_BYTES_MAX,
  CHUNK_CUT_BYTES,
  DTYPE_BYTES,
  type FloatDType,
  ShadowkeepError,
} from '../common/index.js';
import { SKEW } from './arena.js';
import { type Layout, planWire, type WirePlan } from './layout.js';
import type { Page, PagePool } from './page-pool.js';
import { homeOf, type Plane } from './plane.js';

/**
 * One writer's stream: stages the bytes of one step at a time as they come, in the wire's dtype, until the step is whole.
 * Staging pages are taken when the stream opens, so that a step that has begun cannot run out of memory, and lie in the
 * arena of the shadow that they will be folded into.
 */
export class Writer {
  readonly generation: number;
  readonly plan: WirePlan;
  readonly #pool: PagePool;
  #pages: readonly Page[];
  readonly #onFailure: (error: ShadowkeepError) => void;
  #step: number | undefined;
  #receivedBytes = 0;
  #failure: ShadowkeepError | undefined;
  #isOpen = true;

  constructor(
    pool: PagePool,
    layout: Layout,
    planes: readonly Plane[],
    generation: number,
    wireDType: FloatDType | undefined,
    onFailure: (error: ShadowkeepError) => void,
  ) {
    this.generation = generation;
    this.#onFailure = onFailure;
    this.#pool = pool;
    this.plan = planWire(layout, wireDType);
    const homes = stagingHomes(this.plan, pool.pageBytes, planes[0]);
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
    this.#step = step;
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const page = this.#pages[Math.floor(at / this.#pool.pageBytes)];
      assert(page !== undefined, 'the range was checked');
      const within = at % this.#pool.pageBytes;
      const count = Math.min(data.length - done, this.#pool.pageBytes - within);
      page.arena.bytes(page.address + within, count).set(data.subarray(done, done + count));
      done += count;
    }
    this.#receivedBytes = offset + data.length;
  }

  /** Throws unless `step` has arrived whole and `bytes` is its length. An empty layout's step has no chunks. */
  checkWhole(step: number, bytes: number): void {
    this.checkOpen();
    this.checkStep(step);
    const { totalBytes } = this.plan;
    if (bytes !== totalBytes || this.#receivedBytes !== totalBytes) {
      throw new ShadowkeepError(
        'STEP_INCOMPLETE',
        `commit of step ${step} says ${bytes} bytes and ${this.#receivedBytes} arrived, a step of this writer has ${totalBytes}`,
        { metadata: { step, saidBytes: bytes, receivedBytes: this.#receivedBytes, stepBytes: totalBytes } },
      );
    }
  }

  /** Forgets the step in flight. */
  reset(): void {
    this.#step = undefined;
    this.#receivedBytes = 0;
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
    const { totalBytes } = this.plan;
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
function stagingHomes(plan: WirePlan, pageBytes: number, plane: Plane | undefined): number[] {
  const homes: number[] = new Array(Math.ceil(plan.totalBytes / pageBytes)).fill(0);
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
