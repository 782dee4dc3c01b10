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

/** What the first message of an Update stream says. */
export interface WriterRequest {
  readonly generation: number;
  readonly writer: number;
  /** Undefined stands for the whole layout when there is one writer, and for nothing when there are several. */
  readonly boxes: BoxList | undefined;
  readonly wireDType: FloatDType | undefined;
  /** The stream takes the place of one that is still open and belongs to the same process, as `session` shows. */
  readonly takeover: boolean;
  /** Names the process: all streams of a process have the same session, and no other process has it. */
  readonly session: string;
}

/** How far a writer is. */
export interface WriterState {
  readonly writer: number;
  readonly isConnected: boolean;
  /** The newest step that the writer has sent whole. */
  readonly step: number | undefined;
  readonly receivingStep: number | undefined;
  readonly receivedBytes: number;
  readonly stepBytes: number;
  /** Steps, oldest first, that another writer has sent whole and this writer has not. */
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
  /** Streams that wait until all other writers have declared their boxes. */
  readonly #waiting = new Map<number, WriterStream>();
  /** A slot for each writer; empty until all writers have declared their boxes. */
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

  /** The steps that are being received; undefined while nobody writes. */
  get pipeline(): Pipeline | undefined {
    return this.#pipeline;
  }

  /**
   * Opens the stream of a writer. The stream is ready when all writers have declared their boxes and `proving` has begun
   * them. Throws INVALID_FIELD, WRITER_BUSY, BOXES_CHANGED, WRITERS_MISMATCH, MEMORY_EXHAUSTED.
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
   * When all writers have declared: proves that their boxes tile every tensor, and begins their streams. Yields between
   * slices, and begins again when a writer goes or comes in between. `last` is the stream that is refused when the proof
   * fails. Throws BOX_GAP and BOX_OVERLAP, which all streams are told, and MEMORY_EXHAUSTED, after which the others go on
   * waiting.
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

  /** Says that a stream has ended. What it has sent of a step is kept until `forget`. */
  leave(stream: WriterStream): void {
    stream.close();
    if (this.#waiting.get(stream.number) !== stream) return;
    this.#waiting.delete(stream.number);
    this.#world.withdraw(stream.number);
  }

  /** Frees what a stream has left behind, because its writer has not come back. */
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

  /** Ends every stream. What the writers have sent, and their open steps, are kept for those that come back. */
  failAll(error: ShadowkeepError): void {
    for (const stream of [...this.#waiting.values()]) stream.fail(error);
    for (const { stream } of this.#slots) stream?.fail(error);
    this.#waiting.clear();
  }

  /** The error for a writer that has waited in vain for the others to declare their boxes. */
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

  /** The error for a process that was away while another process took its place. */
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

/** Number of writers that an error names. A person starts with the first ones. */
const NAMED_MAX = 16;
