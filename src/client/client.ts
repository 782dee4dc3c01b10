import type { ClientUnaryCall, requestCallback } from '@grpc/grpc-js';
import { isTarget, quote, ShadowkeepError, TARGET_RULE } from '../common/index.js';
import type {
  AddAverageResponse__Output,
  DeleteRunResponse__Output,
  ListRunsResponse__Output,
  OpenRunResponse__Output,
  Run__Output,
  ShadowWeightsClient,
} from '../protocol/index.js';
import { toAverageMessage } from './averages/index.js';
import { createStub } from './channel.js';
import { ClientError, protocolError, toFailure } from './errors.js';
import { allRuns, sendOpenRun, wholeRun } from './layout-calls.js';
import { toRunEvent, toRunInfo } from './messages.js';
import { type OpenRunCalls, openRun } from './open-run.js';
import type { ReadOptions, Shadow, ShadowRead } from './read-types.js';
import { ResponseReader } from './response-reader.js';
import type { RunHandle } from './run-handle.js';
import type { DamagedRun, RunEvent, RunInfo } from './run-types.js';
import { type BeginOptions, ServiceWait } from './service-wait.js';
import { getShadow, readShadow } from './shadow-read.js';
import type { ReadCalls } from './shadow-stream.js';
import type { AverageSpec, OpenRunOptions, ReconnectOptions } from './types.js';

export interface ConnectOptions {
  /** Whether every chunk carries a CRC-32C, in both directions. Default true. */
  checksums?: boolean | undefined;
  /** Longest time for one unary call, milliseconds. Default 60,000. */
  deadlineMs?: number | undefined;
  /**
   * How long a unary call, or a read that has no header yet, waits for a service that is not up, milliseconds; 0 does
   * not wait. A host name that cannot be resolved is not waited for, unless the service has answered before. Default
   * 60,000.
   */
  serviceWaitMs?: number | undefined;
}

/** Default deadline of a unary call. Opening a run of hundreds of GiB takes seconds, so a call of a minute has hung. */
const DEADLINE_MS = 60_000;

/** Default wait for a service. A service that is started together with its trainers is up within it. */
const SERVICE_WAIT_MS = 60_000;

/**
 * A client of the service at `target`, HOST:PORT. It connects with its first call. Reads have a connection of their
 * own, so that a read that nobody consumes does not slow a trainer down. Throws INVALID_FIELD for a target without a
 * port.
 */
export function connect(target: string, options: ConnectOptions = {}): ShadowkeepClient {
  if (!isTarget(target)) {
    const problem = `target ${TARGET_RULE}, got ${quote(target)}`;
    throw new ShadowkeepError('INVALID_FIELD', problem, { metadata: { field: 'target' } });
  }
  return new ShadowkeepClient(createStub(target), createStub(target), options);
}

/**
 * The service's methods as functions. Every failure is a `ShadowkeepError` with the service's reason, or a
 * `ClientError` when there is no such reason: no server, a broken connection, a deadline.
 */
export class ShadowkeepClient {
  readonly #stub: ShadowWeightsClient;
  /** The stub for GetShadow, which has a connection of its own. */
  readonly #reads: ShadowWeightsClient;
  readonly #checksums: boolean;
  readonly #deadlineMs: number;
  readonly #serviceWait: ServiceWait;
  #isClosed = false;

  /** Use `connect` to make one. */
  constructor(stub: ShadowWeightsClient, reads: ShadowWeightsClient, options: ConnectOptions) {
    this.#stub = stub;
    this.#reads = reads;
    this.#checksums = options.checksums ?? true;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    this.#serviceWait = new ServiceWait(options.serviceWaitMs ?? SERVICE_WAIT_MS);
  }

  /**
   * Creates a run or attaches to it, and opens this writer's stream of updates. With several writers it resolves when
   * all of them have opened their streams and their boxes tile every tensor, so a process with several writers must
   * open them together, with `Promise.all`.
   *
   * Rejects with LAYOUT_MISMATCH or AVERAGES_MISMATCH when the run has another layout or other averages, with
   * WRITERS_MISMATCH, BOX_GAP or BOX_OVERLAP when the writers do not agree, with WRITERS_MISSING when a writer does not
   * come, with WRITER_BUSY while another stream of this writer is open, with TRAINER_BEHIND, with VERSION_NOT_FOUND
   * when there is no version to rewind to, and with MEMORY_EXHAUSTED.
   */
  async openRun(options: OpenRunOptions): Promise<RunHandle> {
    const calls: OpenRunCalls = {
      checksums: this.#checksums,
      stub: () => this.#calls(),
      openRun: (request) =>
        this.#unary<OpenRunResponse__Output>(
          (callback) => sendOpenRun(this.#calls(), request, this.#callOptions(), callback),
          { deadlineMs: waitMsOf(options.reconnect) },
        ),
    };
    return await openRun(calls, options);
  }

  /**
   * The averaged weights of one exact step, in memory. Rejects with RUN_NOT_FOUND, AVERAGE_NOT_FOUND,
   * VERSION_NOT_FOUND, NOTHING_COMMITTED, WAIT_TIMEOUT.
   */
  async getShadow(options: ReadOptions): Promise<Shadow> {
    return await getShadow(this.#readCalls(), options);
  }

  /**
   * The averaged weights of one exact step as a stream, for files and for models larger than memory. What the loop has
   * not asked for stays with the service. The service ends a read that takes nothing for long (READER_STALLED).
   */
  async readShadow(options: ReadOptions): Promise<ShadowRead> {
    return await readShadow(this.#readCalls(), options);
  }

  /**
   * Yields the run's present state, then each commit as it happens. With `every`, only commits whose step is a multiple
   * of it are yielded. A loop that is too slow misses commits and gets the newest one. Leaving the loop ends the watch.
   */
  async *watchRun(
    run: string,
    options: { every?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<RunEvent, void, undefined> {
    const { every = 1, signal } = options;
    const begin = async () => {
      const events = new ResponseReader(this.#calls().WatchRun({ run, every }), signal);
      return { events, first: await events.next() };
    };
    const { events, first } = await this.#serviceWait.begin(begin, { signal });
    try {
      if (first !== undefined) yield toRunEvent(first);
      for await (const event of events) yield toRunEvent(event);
    } finally {
      events.cancel();
    }
  }

  /** The state, sizes and rates of a run. Rejects with RUN_NOT_FOUND. */
  async getRun(run: string): Promise<RunInfo> {
    return toRunInfo(
      await wholeRun((first_tensor) =>
        this.#unary<Run__Output>((callback) =>
          this.#calls().GetRun({ run, first_tensor }, this.#callOptions(), callback),
        ),
      ),
    );
  }

  /** All runs in the order of their names, without their tensors and the patterns of their averages. */
  async listRuns(): Promise<RunInfo[]> {
    const runs = await allRuns((after) => this.#listRuns(after));
    return runs.map(toRunInfo);
  }

  /** The runs in the service's data directory that could not be loaded, with what is wrong with each. */
  async listDamagedRuns(): Promise<DamagedRun[]> {
    return (await this.#listRuns('')).damaged.map(({ run, problem }) => ({ run, problem }));
  }

  /**
   * Adds an average to a run that is under way. The average starts with the next step. `addedAtStep` is the step that
   * was committed then, undefined for none; the average knows nothing of it and of earlier steps. Rejects with
   * RUN_NOT_FOUND, with INVALID_AVERAGE (also when the name is taken), with INITIAL_TOO_LATE for a start from INITIAL
   * after the first commit, and with MEMORY_EXHAUSTED.
   */
  async addAverage(run: string, average: AverageSpec): Promise<{ addedAtStep: number | undefined }> {
    const message = toAverageMessage(average);
    const { added_at_step: addedAtStep } = await this.#unary<AddAverageResponse__Output>(
      (callback) => this.#calls().AddAverage({ run, average: message }, this.#callOptions(), callback),
      { repeatable: false },
    );
    return { addedAtStep };
  }

  /**
   * Removes an average and frees its memory. Reads under way end undisturbed. Rejects with RUN_NOT_FOUND,
   * AVERAGE_NOT_FOUND, and with LAST_AVERAGE for the only average of a run.
   */
  async removeAverage(run: string, name: string): Promise<void> {
    await this.#unary(
      (callback) => this.#calls().RemoveAverage({ run, average: name }, this.#callOptions(), callback),
      { repeatable: false },
    );
  }

  /** Deletes a run, its memory and its files. Its streams end with RUN_DELETED. Rejects with RUN_NOT_FOUND. */
  async deleteRun(run: string): Promise<{ freedBytes: number }> {
    const { freed_bytes: freedBytes } = await this.#unary<DeleteRunResponse__Output>(
      (callback) => this.#calls().DeleteRun({ run }, this.#callOptions(), callback),
      { repeatable: false },
    );
    return { freedBytes };
  }

  /** Closes the client: no more calls can begin, and its connections close when the open streams have ended. */
  close(): void {
    this.#isClosed = true;
    this.#stub.close();
    this.#reads.close();
  }

  #calls(stub = this.#stub): ShadowWeightsClient {
    if (this.#isClosed) throw new ClientError('FAILED_PRECONDITION', 'the client is closed');
    return stub;
  }

  #readCalls(): ReadCalls {
    return {
      checksums: this.#checksums,
      stub: () => this.#calls(this.#reads),
      tensorsOf: async (run) => (await this.getRun(run)).tensors,
      begin: (call, { reconnect, signal }) =>
        this.#serviceWait.begin(call, { deadlineMs: waitMsOf(reconnect), signal }),
    };
  }

  #listRuns(after: string): Promise<ListRunsResponse__Output> {
    return this.#unary<ListRunsResponse__Output>((callback) =>
      this.#calls().ListRuns({ after }, this.#callOptions(), callback),
    );
  }

  #callOptions() {
    return { deadline: Date.now() + this.#deadlineMs };
  }

  /**
   * Makes a unary call and waits for the service if it is away. `repeatable: false` is for calls whose second answer
   * differs from the first: such a call is sent again only if it never left this process.
   */
  #unary<Response>(
    start: (callback: requestCallback<Response>) => ClientUnaryCall,
    options?: BeginOptions,
  ): Promise<Response> {
    const call = () =>
      new Promise<Response>((resolve, reject) => {
        start((error, response) => {
          if (error) reject(toFailure(error));
          else if (response === undefined) reject(protocolError('an empty answer'));
          else resolve(response);
        });
      });
    return this.#serviceWait.begin(call, options);
  }
}

/**
 * How long to wait for a service before anything began, by the option that says how long a break may last; undefined
 * for the client's own `serviceWaitMs`.
 */
function waitMsOf(reconnect: ReconnectOptions | false | undefined): number | undefined {
  return reconnect === false ? 0 : reconnect?.deadlineMs;
}
