import { assert, type FloatDType, quote, ShadowkeepError } from '../../common/index.js';
import type { Layout } from '../layout/layout.js';
import type { WirePlan } from '../layout/wire-plan.js';
import type { Ledger } from '../memory/ledger.js';
import type { PagePool } from '../memory/page-pool.js';
import type { RunSpec } from '../run-spec.js';
import { type BoxList, World } from '../world/index.js';
import { Pipeline, type PipelineRun } from './pipeline.js';
import { Sessions } from './sessions.js';
import { WriterSlot } from './writer-slot.js';
import { WriterStream } from './writer-stream.js';

/** What a stream of a writer opens with. */
export interface WriterRequest {
  readonly generation: number;
  readonly writer: number;
  /** Undefined: the whole layout of a single writer, nothing of one among several. */
  readonly boxes: BoxList | undefined;
  readonly wireDType: FloatDType | undefined;
  /** It takes the place of a stream that is still open: its own, as `session` tells. */
  readonly takeover: boolean;
  /** Names the process: the same on each of its streams, another one on those of others. */
  readonly session: string;
}

/** How far a writer is. */
export interface WriterState {
  readonly writer: number;
  readonly isConnected: boolean;
  /** The newest step that it has sent whole. */
  readonly step: number | undefined;
  readonly receivingStep: number | undefined;
  readonly receivedBytes: number;
  readonly stepBytes: number;
  /** Steps that another writer has sent whole, and this one has not, oldest first. */
  readonly behind: readonly number[];
}

/** The writers of one generation: their streams, what each sends, and the steps that they send together. */
export class Writers {
  readonly generation: number;
  readonly count: number;
  readonly #spec: RunSpec;
  readonly #world: World;
  readonly #run: PipelineRun;
  readonly #pool: PagePool;
  /** Streams that wait for the others' declarations. */
  readonly #waiting = new Map<number, WriterStream>();
  /** One for each writer, once all have declared. */
  #slots: readonly WriterSlot[] = [];
  /** The last stream of each writer whose staged bytes are kept. */
  readonly #held = new Map<number, WriterStream>();
  readonly #sessions = new Sessions();
  #isProving = false;
  #pipeline: Pipeline | undefined;

  constructor(
    generation: number,
    count: number,
    spec: RunSpec,
    run: PipelineRun,
    pool: PagePool,
    layout: Layout,
    ledger: Ledger,
  ) {
    this.generation = generation;
    this.count = count;
    this.#spec = spec;
    this.#run = run;
    this.#pool = pool;
    this.#world = new World(spec.name, layout, count, ledger);
  }

  /** The steps in flight; undefined: nobody writes. */
  get pipeline(): Pipeline | undefined {
    return this.#pipeline;
  }

  /**
   * Opens the stream of a writer; it is ready when all have declared and `proving` has begun their steps. Throws INVALID_FIELD,
   * WRITER_BUSY, BOXES_CHANGED, WRITERS_MISMATCH, MEMORY_EXHAUSTED.
   */
  open(request: WriterRequest, onFailure: (error: ShadowkeepError) => void): WriterStream {
    const { writer: number } = request;
    if (number >= this.count) {
      const problem = `open.writer must be an integer from 0 to ${this.count - 1}, got ${number}`;
      throw new ShadowkeepError('INVALID_FIELD', problem, { metadata: { field: 'open.writer' } });
    }
    const { session, takeover } = request;
    if (takeover && this.#sessions.isReplaced(number, session)) throw this.#lateError(number);
    const busy = this.#waiting.get(number) ?? this.#slots[number]?.stream;
    if (busy !== undefined && !(takeover && this.#sessions.isNewest(number, session))) throw this.#busyError(number);
    this.#world.declare(number, request.boxes, request.wireDType);
    this.#waiting.delete(number);
    busy?.fail(this.#replacedError(number));
    const stream = new WriterStream(number, this.generation, this, onFailure);
    this.#held.set(number, stream);
    this.#sessions.opened(number, session);
    const { pipeline } = this;
    const slot = this.#slots[number];
    if (pipeline !== undefined && slot !== undefined) {
      slot.comeBack(takeover);
      stream.begin(slot, pipeline);
      return stream;
    }
    this.#waiting.set(number, stream);
    return stream;
  }

  /**
   * When all have declared: proves that their boxes are a whole, and begins their streams. Yields between slices; who goes or
   * comes meanwhile is seen. `last` is who is refused what cannot be. Throws BOX_GAP, BOX_OVERLAP, which all are told, and
   * MEMORY_EXHAUSTED: the others go on waiting.
   */
  *proving(last: WriterStream): Generator<void> {
    if (this.#isProving) return;
    this.#isProving = true;
    try {
      while (this.#world.isComplete && !this.#world.isProved) yield* this.#prove(last);
    } finally {
      this.#isProving = false;
    }
  }

  /** A stream has ended: what it has sent of a step is kept until `forget`. */
  leave(stream: WriterStream): void {
    stream.close();
    if (this.#waiting.get(stream.number) !== stream) return;
    this.#waiting.delete(stream.number);
    this.#world.withdraw(stream.number);
  }

  /** Nobody has come back for what a stream has left: it leaves no trace. */
  forget(stream: WriterStream): void {
    const { number } = stream;
    if (this.#held.get(number) !== stream || this.#waiting.get(number) === stream) return;
    const slot = this.#slots[number];
    if (slot?.stream !== undefined) return;
    this.#held.delete(number);
    if (slot !== undefined) this.#pipeline?.discard(slot);
    if (this.#held.size === 0) this.#close();
  }

  /** Ends every stream and frees what they have staged. */
  end(error: ShadowkeepError): void {
    for (const slot of this.#slots) slot.settleWith(error);
    this.failAll(error);
    this.#close();
  }

  /** Ends every stream; what they have sent is kept for those that come back, and with it their open steps. */
  failAll(error: ShadowkeepError): void {
    for (const stream of [...this.#waiting.values()]) stream.fail(error);
    for (const { stream } of this.#slots) stream?.fail(error);
    this.#waiting.clear();
  }

  /** What a writer that has waited in vain is told. */
  missingError(timeoutMs: number): ShadowkeepError {
    const { missing } = this.#world;
    const names = missing.slice(0, NAMED_MAX).join(', ') + (missing.length > NAMED_MAX ? ' …' : '');
    return new ShadowkeepError(
      'WRITERS_MISSING',
      `run ${quote(this.#spec.name)}: ${missing.length} of ${this.count} writers have not declared their boxes for ` +
        `${timeoutMs} ms: ${names}`,
      { metadata: { missing: names } },
    );
  }

  get states(): WriterState[] {
    const sentWhole = [...new Set(this.#slots.flatMap((slot) => slot.awaited.map(({ step }) => step)))];
    return Array.from({ length: this.count }, (_, writer): WriterState => {
      const slot = this.#slots[writer];
      const behind = sentWhole.filter((step) => (slot?.wholeStep ?? -1) < step).sort((a, b) => a - b);
      return {
        writer,
        isConnected: slot?.stream !== undefined || this.#waiting.has(writer),
        step: slot?.wholeStep,
        receivingStep: slot?.receiving?.step,
        receivedBytes: slot?.receivedBytes ?? 0,
        stepBytes: slot?.part.stepBytes ?? 0,
        behind,
      };
    });
  }

  *#prove(last: WriterStream): Generator<void> {
    try {
      yield* this.#world.proving((plan) => this.#begin(plan));
    } catch (error) {
      const isFault = !this.#world.isComplete;
      this.leave(last);
      this.#held.delete(last.number);
      if (isFault && error instanceof ShadowkeepError) this.failAll(error);
      throw error;
    }
    if (!this.#world.isProved) return;
    this.#slots = Array.from({ length: this.count }, (_, number) => {
      const { part, leftOut } = this.#world.partOf(number);
      return new WriterSlot(number, this.#world.plan, part, leftOut, this.#spec.nonFinite);
    });
    const { pipeline } = this;
    assert(pipeline !== undefined, 'it was made with the proof');
    for (const stream of this.#waiting.values()) stream.begin(this.#slots[stream.number]!, pipeline);
    this.#waiting.clear();
  }

  /** Takes the memory of a step. Throws MEMORY_EXHAUSTED. */
  #begin(plan: WirePlan): void {
    this.#pipeline = new Pipeline(this.#run, this.#pool, plan, this.count, this.#world.sendsGaps);
  }

  #close(): void {
    this.#pipeline?.close();
    this.#pipeline = undefined;
    this.#slots = [];
    this.#held.clear();
    this.#world.reset();
  }

  #busyError(writer: number): ShadowkeepError {
    return new ShadowkeepError('WRITER_BUSY', `writer ${writer} of run ${quote(this.#spec.name)} already has a stream`);
  }

  /** What a process is told that was away while another one took its place. */
  #lateError(writer: number): ShadowkeepError {
    return new ShadowkeepError(
      'STREAM_REPLACED',
      `writer ${writer} of run ${quote(this.#spec.name)} was opened by another process since: it is that one's now`,
      { metadata: { writer } },
    );
  }

  #replacedError(writer: number): ShadowkeepError {
    return new ShadowkeepError(
      'STREAM_REPLACED',
      `writer ${writer} of run ${quote(this.#spec.name)} came back on another stream`,
      { metadata: { writer } },
    );
  }
}

/** Writers that an error names: a person starts with the first ones. */
const NAMED_MAX = 16;
