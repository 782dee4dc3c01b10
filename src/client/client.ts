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
  /** CRC-32C in every chunk, both ways. Default true. */
  checksums?: boolean | undefined;
  /** Longest time for one call that is no stream, milliseconds. Default 60,000. */
  deadlineMs?: number | undefined;
  /**
   * How long what begins something (a call that is no stream, a read before its header) waits for a service that is not up
   * yet, or away, milliseconds; 0: not at all. A host without an address is not waited for, unless it had one before.
   * Default 60,000.
   */
  serviceWaitMs?: number | undefined;
}

/** Opening a run of hundreds of GiB takes seconds; what takes a minute has hung. */
const DEADLINE_MS = 60_000;

/** A service that is started together with its trainers is there within it. */
const SERVICE_WAIT_MS = 60_000;

/**
 * A client of the service at `target`, HOST:PORT. Connects with its first call; reads have a connection of their own, so that
 * one that is not consumed fills its own window and no trainer's. Throws INVALID_FIELD for a target without a port.
 */
export function connect(target: string, options: ConnectOptions = {}): ShadowkeepClient {
  if (!isTarget(target)) {
    const problem = `target ${TARGET_RULE}, got ${quote(target)}`;
    throw new ShadowkeepError('INVALID_FIELD', problem, { metadata: { field: 'target' } });
  }
  return new ShadowkeepClient(createStub(target), createStub(target), options);
}

/**
 * The service as functions. Every failure is a `ShadowkeepError` with the service's reason, or a `ClientError` when
 * there is none: no server, a broken connection, a deadline.
 */
export class ShadowkeepClient {
  readonly #stub: ShadowWeightsClient;
  /** For GetShadow. */
  readonly #reads: ShadowWeightsClient;
  readonly #checksums: boolean;
  readonly #deadlineMs: number;
  readonly #serviceWait: ServiceWait;
  #isClosed = false;

  /** Made by `connect`. */
  constructor(stub: ShadowWeightsClient, reads: ShadowWeightsClient, options: ConnectOptions) {
    this.#stub = stub;
    this.#reads = reads;
    this.#checksums = options.checksums ?? true;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    this.#serviceWait = new ServiceWait(options.serviceWaitMs ?? SERVICE_WAIT_MS);
  }

  /**
   * Creates a run or attaches to it, and opens this writer's stream of updates to it. Of several writers it resolves when
   * all have opened theirs and their boxes tile every tensor: in one process, open them together with `Promise.all`.
   *
   * Rejects with LAYOUT_MISMATCH or AVERAGES_MISMATCH when the run has others, WRITERS_MISMATCH, BOX_GAP or BOX_OVERLAP when
   * the writers do not agree, WRITERS_MISSING when one does not come, WRITER_BUSY while another stream of it is open,
   * TRAINER_BEHIND, VERSION_NOT_FOUND when there is nothing to rewind to, MEMORY_EXHAUSTED.
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
   * The same as a stream, for files and for models larger than memory: what the loop has not asked for stays with the
   * service, which ends a read that takes nothing for long (READER_STALLED).
   */
  async readShadow(options: ReadOptions): Promise<ShadowRead> {
    return await readShadow(this.#readCalls(), options);
  }

  /**
   * The run's present state, then each commit as it happens; with `every`, only those whose step is a multiple of it.
   * A loop that is too slow gets the newest commit, not each one. Leaving the loop ends the watch.
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

  /** State, sizes and rates of a run. Rejects with RUN_NOT_FOUND. */
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

  /** Runs that lie in the service's data directory and could not be loaded, with what is wrong. */
  async listDamagedRuns(): Promise<DamagedRun[]> {
    return (await this.#listRuns('')).damaged.map(({ run, problem }) => ({ run, problem }));
  }

  /**
   * Adds an average to a run that is under way: it starts with the next step and knows nothing of `addedAtStep`, the step
   * that was committed (undefined: none), and those before it. Rejects with RUN_NOT_FOUND, INVALID_AVERAGE (the second time
   * too: the name is taken), FAILED_PRECONDITION for a start from INITIAL, MEMORY_EXHAUSTED.
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
   * Removes an average and its memory; reads under way end undisturbed. Rejects with RUN_NOT_FOUND, AVERAGE_NOT_FOUND, and
   * FAILED_PRECONDITION for a run's last one.
   */
  async removeAverage(run: string, name: string): Promise<void> {
    await this.#unary(
      (callback) => this.#calls().RemoveAverage({ run, average: name }, this.#callOptions(), callback),
      { repeatable: false },
    );
  }

  /** Deletes a run, its memory and its files; its streams end with RUN_DELETED. Rejects with RUN_NOT_FOUND. */
  async deleteRun(run: string): Promise<{ freedBytes: number }> {
    const { freed_bytes: freedBytes } = await this.#unary<DeleteRunResponse__Output>(
      (callback) => this.#calls().DeleteRun({ run }, this.#callOptions(), callback),
      { repeatable: false },
    );
    return { freedBytes };
  }

  /** Starts nothing more; its connections close when the streams that are open have ended. */
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

  /** `repeatable: false` for what, done twice, answers otherwise than done once: it is sent again only if it never left. */
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

/** Whoever says how long a break may last says so of the beginning, too; undefined: what the client says. */
function waitMsOf(reconnect: ReconnectOptions | false | undefined): number | undefined {
  return reconnect === false ? 0 : reconnect?.deadlineMs;
}
