import type { ClientDuplexStream } from '@grpc/grpc-js';
import { createWaiter, type Waiter } from '../common/index.js';
import {
  checkMessage,
  type UpdateOpen,
  type UpdateOpened__Output,
  type UpdateRequest,
  type UpdateResponse__Output,
} from '../protocol/index.js';
import { ClientError, type Failure, protocolError, toFailure } from './errors.js';
import { toAck } from './messages.js';
import { ChunkMemory, OutgoingChunk, type StepChunk } from './outgoing-chunk.js';
import type { Ack } from './types.js';

/** An Update call. Its stub must take chunks: see `passChunks`. */
export type UpdateCall = ClientDuplexStream<UpdateRequest | OutgoingChunk, UpdateResponse__Output>;

/** Hears of what comes on a stream as it comes: an ack may follow in the same turn as `opened`. */
export interface StreamListener {
  onOpened(stream: UpdateStream, opened: UpdateOpened__Output): void;
  /** Takes an ack. An exception that it throws ends the stream. */
  onAck(ack: Ack): void;
  /** Hears of the stream's failure, once. Nothing comes afterwards. */
  onFailure(stream: UpdateStream, failure: Failure): void;
}

/**
 * One Update call. It sends messages with backpressure and hands answers to its listener. The first failure is final:
 * all that waits on the stream rejects with it, and so does every later call.
 */
export class UpdateStream {
  readonly #call: UpdateCall;
  readonly #memory = new ChunkMemory();
  readonly #listener: StreamListener;
  #failure: Failure | undefined;
  #opened: Waiter<void> | undefined;
  #drained: Waiter<void> | undefined;
  #ended: Waiter<void> | undefined;
  readonly #written = new Set<Waiter<void>>();

  constructor(call: UpdateCall, listener: StreamListener) {
    this.#call = call;
    this.#listener = listener;
    call.on('data', (response: UpdateResponse__Output) => this.#receive(response));
    call.on('drain', () => this.#drained?.resolve());
    call.on('error', (error) => this.cancel(toFailure(error)));
    // gRPC reports an error status before it ends the messages, so an 'end' without failure is a regular end.
    call.on('end', () => this.#end());
  }

  /** Why nothing can be sent any more; undefined while the stream works. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Sends the opening message and waits until the service has answered it. */
  open(open: UpdateOpen): Promise<void> {
    checkMessage('UpdateOpen', open);
    this.#opened = this.#wait();
    this.#call.write({ open });
    return this.#opened.promise;
  }

  /** Hands a chunk to the stream and waits for room for the next one. Its data may be read after that. */
  async sendChunk(chunk: StepChunk): Promise<void> {
    this.#throwIfFailed();
    const message = new OutgoingChunk(chunk, this.#memory);
    if (this.#call.write(message, (error?: Error | null) => !error && message.written())) return;
    this.#drained = this.#wait();
    await this.#drained.promise;
  }

  /** Sends a message and waits until it has been serialized, and with it all earlier ones. */
  async sendWhole(message: UpdateRequest): Promise<void> {
    this.#throwIfFailed();
    const waiter = this.#wait<void>();
    this.#written.add(waiter);
    this.#call.write(message, () => waiter.resolve());
    await waiter.promise;
    this.#written.delete(waiter);
  }

  /** Half-closes the stream and waits until the server ends it. */
  close(): Promise<void> {
    this.#ended ??= this.#wait();
    this.#call.end();
    return this.#ended.promise;
  }

  /**
   * Ends the stream at once with a failure for all that waits on it. Does nothing when the stream has failed before.
   */
  cancel(failure: Failure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    for (const waiter of [this.#opened, this.#drained, this.#ended, ...this.#written]) waiter?.reject(failure);
    this.#call.cancel();
    this.#listener.onFailure(this, failure);
  }

  #receive(response: UpdateResponse__Output): void {
    if (this.#failure !== undefined) return;
    try {
      if (response.message === 'opened' && response.opened) this.#open(response.opened);
      else if (response.message === 'ack' && response.ack) this.#listener.onAck(toAck(response.ack));
      else throw protocolError(`${response.message ?? 'an empty message'} on an Update stream`);
    } catch (error) {
      this.cancel(toFailure(error));
    }
  }

  #open(opened: UpdateOpened__Output): void {
    this.#listener.onOpened(this, opened);
    this.#opened?.resolve();
  }

  #end(): void {
    if (this.#ended !== undefined) this.#ended.resolve();
    else this.cancel(new ClientError('UNAVAILABLE', 'the server ended the stream'));
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #wait<Value>(): Waiter<Value> {
    const waiter = createWaiter<Value>();
    if (this.#failure !== undefined) waiter.reject(this.#failure);
    return waiter;
  }
}
