import type { ClientUnaryCall, requestCallback } from '@grpc/grpc-js';
import {
  type AddAverageResponse__Output,
  type DeleteRunResponse__Output,
  type ListRunsResponse__Output,
  layOut,
  type OpenRunResponse__Output,
  type Run__Output,
  type ShadowWeightsClient,
  type Snapshots,
  type Tensor,
} from '../wire/index.js';
import { createStub } from './channel.js';
import { ClientError, protocolError, toFailure } from './errors.js';
import { toRunEvent, toRunInfo } from './messages.js';
import { ResponseReader } from './response-reader.js';
import { RunHandle } from './run-handle.js';
import { getShadow, readShadow } from './shadow-read.js';
import { sentLayout } from './step-source.js';
import type {
  AverageSpec,
  OpenRunOptions,
  ReadOptions,
  RunEvent,
  RunInfo,
  Shadow,
  ShadowRead,
  SnapshotOptions,
  TensorSpec,
} from './types.js';
import { UpdateStream } from './update-stream.js';

export interface ConnectOptions {
  /** CRC-32C in every chunk, both ways. Default true. */
  checksums?: boolean | undefined;
  /** Longest time for one call that is no stream, milliseconds. Default 60,000. */
  deadlineMs?: number | undefined;
}

/** Opening a run of hundreds of GiB takes seconds; what takes a minute has hung. */
const DEADLINE_MS = 60_000;

/** A client of the service at `target`, HOST:PORT. Connects with its first call. */
export function connect(target: string, options: ConnectOptions = {}): ShadowkeepClient {
  return new ShadowkeepClient(createStub(target), options);
}

/**
 * The service as functions. Every failure is a `ShadowkeepError` with the service's reason, or a `ClientError` when
 * there is none: no server, a broken connection, a deadline.
 */
export class ShadowkeepClient {
  readonly #stub: ShadowWeightsClient;
  readonly #checksums: boolean;
  readonly #deadlineMs: number;
  #isClosed = false;

  /** Made by `connect`. */
  constructor(stub: ShadowWeightsClient, options: ConnectOptions) {
    this.#stub = stub;
    this.#checksums = options.checksums ?? true;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  }

  /**
   * Creates a run or attaches to it, and opens this process' stream of updates to it. Rejects with LAYOUT_MISMATCH or
   * AVERAGES_MISMATCH when the run has others, WRITER_BUSY while another stream writes it, MEMORY_EXHAUSTED.
   */
  async openRun(options: OpenRunOptions): Promise<RunHandle> {
    const opened = await this.#unary<OpenRunResponse__Output>((callback) =>
      this.#calls().OpenRun(
        {
          run: options.run,
          tensors: options.tensors.map(toTensorMessage),
          averages: [...options.averages],
          policies: Object.entries(options.policies ?? {}).map(([pattern, policy]) => ({ pattern, policy })),
          non_finite: options.nonFinite ?? 'NON_FINITE_UNSPECIFIED',
          ...(options.snapshots && { snapshots: toSnapshotsMessage(options.snapshots) }),
          incarnation: options.incarnation ?? '',
        },
        this.#callOptions(),
        callback,
      ),
    );
    const stream = new UpdateStream(this.#calls().Update());
    const answer = await stream.open({
      run: options.run,
      generation: opened.generation,
      wire_dtype: options.wireDtype ?? 'DTYPE_UNSPECIFIED',
    });
    const { step_bytes: stepBytes, first_step_bytes: firstStepBytes, committed_step: committedStep } = answer;
    const layout = sentLayout(options);
    const { totalBytes } = layOut([...layout.eachStep, ...layout.once].map((tensor) => tensor.bytes));
    if (firstStepBytes !== totalBytes) {
      const failure = protocolError(`a step of ${firstStepBytes} bytes where the layout has ${totalBytes}`);
      stream.cancel(failure);
      throw failure;
    }
    const { run, generation, created } = opened;
    const state = { run, generation, created, committedStep, stepBytes, firstStepBytes };
    return new RunHandle(state, stream, layout, this.#checksums);
  }

  /**
   * The averaged weights of one exact step, in memory. Rejects with RUN_NOT_FOUND, AVERAGE_NOT_FOUND,
   * VERSION_NOT_FOUND, NOTHING_COMMITTED, WAIT_TIMEOUT.
   */
  async getShadow(options: ReadOptions): Promise<Shadow> {
    return await getShadow(this.#calls(), options, this.#checksums);
  }

  /**
   * The same as a stream, for files and for models larger than memory: what the loop has not asked for stays with the
   * service, which ends a read that takes nothing for long (READER_STALLED).
   */
  async readShadow(options: ReadOptions): Promise<ShadowRead> {
    return await readShadow(this.#calls(), options, this.#checksums);
  }

  /**
   * The run's present state, then each commit as it happens; with `every`, only those whose step is a multiple of it.
   * A loop that is too slow gets the newest commit, not each one. Leaving the loop ends the watch.
   */
  async *watchRun(
    run: string,
    options: { every?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<RunEvent, void, undefined> {
    const call = this.#calls().WatchRun({ run, every: options.every ?? 1 });
    for await (const event of new ResponseReader(call, options.signal)) yield toRunEvent(event);
  }

  /** State, sizes and rates of a run. Rejects with RUN_NOT_FOUND. */
  async getRun(run: string): Promise<RunInfo> {
    return toRunInfo(
      await this.#unary<Run__Output>((callback) => this.#calls().GetRun({ run }, this.#callOptions(), callback)),
    );
  }

  /** All runs in the order of their names, without their tensors. */
  async listRuns(): Promise<RunInfo[]> {
    const { runs } = await this.#unary<ListRunsResponse__Output>((callback) =>
      this.#calls().ListRuns({}, this.#callOptions(), callback),
    );
    return runs.map(toRunInfo);
  }

  /**
   * Adds an average to a run that is under way: it starts with the next step and knows nothing of `addedAtStep`, the step
   * that was committed (undefined: none), and those before it. Rejects with RUN_NOT_FOUND, INVALID_AVERAGE (the second time
   * too: the name is taken), FAILED_PRECONDITION for a start from INITIAL, MEMORY_EXHAUSTED.
   */
  async addAverage(run: string, average: AverageSpec): Promise<{ addedAtStep: number | undefined }> {
    const { added_at_step: addedAtStep } = await this.#unary<AddAverageResponse__Output>((callback) =>
      this.#calls().AddAverage({ run, average }, this.#callOptions(), callback),
    );
    return { addedAtStep };
  }

  /**
   * Removes an average and its memory; reads under way end undisturbed. Rejects with RUN_NOT_FOUND, AVERAGE_NOT_FOUND, and
   * FAILED_PRECONDITION for a run's last one.
   */
  async removeAverage(run: string, name: string): Promise<void> {
    await this.#unary((callback) => this.#calls().RemoveAverage({ run, average: name }, this.#callOptions(), callback));
  }

  /** Deletes a run, its memory and its files; its streams end with RUN_DELETED. Rejects with RUN_NOT_FOUND. */
  async deleteRun(run: string): Promise<{ freedBytes: number }> {
    const { freed_bytes: freedBytes } = await this.#unary<DeleteRunResponse__Output>((callback) =>
      this.#calls().DeleteRun({ run }, this.#callOptions(), callback),
    );
    return { freedBytes };
  }

  /** Starts nothing more; the connection closes when the streams that are open have ended. */
  close(): void {
    this.#isClosed = true;
    this.#stub.close();
  }

  #calls(): ShadowWeightsClient {
    if (this.#isClosed) throw new ClientError('FAILED_PRECONDITION', 'the client is closed');
    return this.#stub;
  }

  #callOptions() {
    return { deadline: Date.now() + this.#deadlineMs };
  }

  #unary<Response>(start: (callback: requestCallback<Response>) => ClientUnaryCall): Promise<Response> {
    return new Promise((resolve, reject) => {
      start((error, response) => {
        if (error) reject(toFailure(error));
        else if (response === undefined) reject(protocolError('an empty answer'));
        else resolve(response);
      });
    });
  }
}

function toTensorMessage({ name, dtype, shape, policy }: TensorSpec): Tensor {
  return { name, dtype, shape: [...shape], policy: policy ?? 'POLICY_UNSPECIFIED' };
}

function toSnapshotsMessage({ everySteps, countMax, bytesMax, dtype }: SnapshotOptions): Snapshots {
  return {
    every_steps: everySteps,
    count_max: countMax,
    bytes_max: bytesMax ?? 0,
    dtype: dtype ?? 'DTYPE_UNSPECIFIED',
  };
}
