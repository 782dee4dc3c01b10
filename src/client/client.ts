import type { ClientUnaryCall, requestCallback } from '@grpc/grpc-js';
import {
  type DeleteRunResponse__Output,
  type ListRunsResponse__Output,
  layOut,
  type OpenRunResponse__Output,
  type Run__Output,
  type ShadowWeightsClient,
  type Tensor,
} from '../wire/index.js';
import { createStub } from './channel.js';
import { ClientError, protocolError, toFailure } from './errors.js';
import { toRunEvent, toRunInfo } from './messages.js';
import { ResponseReader } from './response-reader.js';
import { RunHandle } from './run-handle.js';
import { getShadow, readShadow } from './shadow-read.js';
import { sentTensors } from './step-source.js';
import type { OpenRunOptions, ReadOptions, RunEvent, RunInfo, Shadow, ShadowRead, TensorSpec } from './types.js';
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
          incarnation: options.incarnation ?? '',
        },
        this.#callOptions(),
        callback,
      ),
    );
    const stream = new UpdateStream(this.#calls().Update());
    const { step_bytes: stepBytes, committed_step: committedStep } = await stream.open({
      run: options.run,
      generation: opened.generation,
      wire_dtype: options.wireDtype ?? 'DTYPE_UNSPECIFIED',
    });
    const tensors = sentTensors(options);
    const { totalBytes } = layOut(tensors.map((tensor) => tensor.bytes));
    if (stepBytes !== totalBytes) {
      const failure = protocolError(`a step of ${stepBytes} bytes where the layout has ${totalBytes}`);
      stream.cancel(failure);
      throw failure;
    }
    const { run, generation, created } = opened;
    return new RunHandle({ run, generation, created, committedStep, stepBytes }, stream, tensors, this.#checksums);
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
