import { getHeapStatistics } from 'node:v8';
import type { Logger } from '../common/index.js';
import { ShadowkeepError } from '../common/index.js';
import { type Run, RunTable } from '../engine/index.js';
import type { RunFiles } from './checkpoint/run-files.js';
import { AnswerTurns } from './loop/answer-turns.js';
import { ReadTurns } from './loop/read-turns.js';
import type { ServerOptions } from './options/option-table.js';
import { makeReaderPatience } from './reads/reader-patience.js';
import { LifeLog } from './trainers/life-log.js';
import { Openings } from './trainers/opening.js';
import { RunActivity } from './trainers/run-activity.js';
import { StepTimer } from './trainers/step-timer.js';
import { Transport } from './transport/transport.js';

/**
 * The ids of versions start at the clock's microseconds when the server starts, and count commits. There are fewer
 * commits than microseconds, so an id never comes again after a restart: a resumed read would go on in another step
 * otherwise.
 */
const VERSION_IDS_PER_MS = 1_000;

/** Share of V8's heap that requests to open runs and the patterns of averages may take; the rest is for the program. */
const OBJECTS_HEAP_SHARE = 1 / 2;

/** What all handlers share: the runs, their files, the transport, and who is served when. */
export class Service {
  readonly options: ServerOptions;
  readonly log: Logger;
  readonly life: LifeLog;
  readonly table: RunTable;
  /** The runs' files; undefined when the server keeps runs in memory only. */
  readonly files: RunFiles | undefined;
  readonly readTurns = new ReadTurns();
  readonly answerTurns = new AnswerTurns();
  readonly openings: Openings;
  readonly transport: Transport;
  readonly #activities = new WeakMap<Run, RunActivity>();
  readonly #stepTimers = new WeakMap<Run, StepTimer>();
  /** For each open stream, the function that ends it when the server stops. */
  readonly #streams = new Set<(error: ShadowkeepError) => void>();
  #isStopping = false;
  #answersReads = false;
  #onStreamsEnded: (() => void) | undefined;

  constructor(options: ServerOptions, log: Logger, files: RunFiles | undefined, nextGeneration: () => number) {
    this.options = options;
    this.log = log;
    this.life = new LifeLog(log);
    this.files = files;
    const heapBudgetBytes = Math.floor(getHeapStatistics().heap_size_limit * OBJECTS_HEAP_SHARE);
    const firstVersionId = Date.now() * VERSION_IDS_PER_MS;
    const { memoryBytes, transportBytes, kernels } = options;
    this.table = new RunTable(
      memoryBytes + transportBytes,
      kernels,
      firstVersionId,
      heapBudgetBytes,
      nextGeneration,
      makeReaderPatience,
    );
    this.table.ledger.reserve(transportBytes, 'the transport');
    this.openings = new Openings(this.table.ledger);
    this.transport = new Transport(options, log);
  }

  activity(run: Run): RunActivity {
    let activity = this.#activities.get(run);
    if (activity === undefined) {
      activity = new RunActivity();
      this.#activities.set(run, activity);
    }
    return activity;
  }

  stepTimer(run: Run): StepTimer {
    let timer = this.#stepTimers.get(run);
    if (timer === undefined) {
      const { stepTimeoutMs } = this.options;
      timer = new StepTimer(run, stepTimeoutMs, (step) => {
        this.life.warn('step dropped', { run: run.spec.name, generation: run.generation, step, stepTimeoutMs });
      });
      this.#stepTimers.set(run, timer);
    }
    return timer;
  }

  /**
   * Registers a long stream, which a server that stops ends by calling `end` with SHUTTING_DOWN. The returned function
   * says that the stream has ended. Throws SHUTTING_DOWN.
   */
  trackStream(end: (error: ShadowkeepError) => void, isRead = false): () => void {
    if (!(isRead && this.#answersReads)) this.checkServing();
    this.#streams.add(end);
    return () => {
      this.#streams.delete(end);
      if (this.#streams.size === 0) this.#onStreamsEnded?.();
    };
  }

  /** Throws SHUTTING_DOWN when the server is stopping. */
  checkServing(): void {
    if (this.#isStopping) throw shuttingDown();
  }

  /** Refuses new work and ends the streams that are open. */
  beginStop(): void {
    this.#isStopping = true;
    for (const end of this.#streams) end(shuttingDown());
  }

  /** Waits until all streams have ended, at most `graceMs`, because a stream whose peer is frozen does not end. */
  async streamsEnded(graceMs: number): Promise<void> {
    if (this.#streams.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onStreamsEnded = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Lets a server that is stopping and could not save its runs go on to answer reads of them. */
  answerReads(): void {
    this.#answersReads = true;
  }
}

function shuttingDown(): ShadowkeepError {
  return new ShadowkeepError('SHUTTING_DOWN', 'the server is shutting down');
}
