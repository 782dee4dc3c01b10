import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { UpdateOpen, UpdateOpened__Output, UpdateRequest, UpdateResponse__Output } from '../wire/index.js';
import { ClientError, type Failure, protocolError, toFailure } from './errors.js';
import { toAck } from './messages.js';
import type { Ack } from './types.js';

/** Somebody waits for an event of the stream. */
interface Waiter<Value> {
  readonly promise: Promise<Value>;
  resolve(value: Value): void;
  reject(failure: Failure): void;
}

/**
 * One Update stream: messages out with backpressure, acks in, matched to their steps in the order of the commits. The
 * first failure is final: everything that waits is rejected with it, and everything that is asked later.
 */
export class UpdateStream {
  readonly #call: ClientDuplexStream<UpdateRequest, UpdateResponse__Output>;
  #failure: Failure | undefined;
  #opened: Waiter<UpdateOpened__Output> | undefined;
  #drained: Waiter<void> | undefined;
  #ended: Waiter<void> | undefined;
  readonly #written = new Set<Waiter<void>>();
  readonly #acks: { step: number; waiter: Waiter<Ack> }[] = [];

  constructor(call: ClientDuplexStream<UpdateRequest, UpdateResponse__Output>) {
    this.#call = call;
    call.on('data', (response: UpdateResponse__Output) => this.#receive(response));
    call.on('drain', () => this.#drained?.resolve());
    call.on('error', (error) => this.#fail(toFailure(error)));
    // A status that is an error is reported before the end of the messages.
    call.on('end', () => this.#end());
  }

  open(open: UpdateOpen): Promise<UpdateOpened__Output> {
    this.#opened = this.#wait();
    this.#call.write({ open });
    return this.#opened.promise;
  }

  /** Hands a message to the stream and waits until the stream has room for the next one. It may be serialized later. */
  async send(message: UpdateRequest): Promise<void> {
    this.throwIfFailed();
    if (this.#call.write(message)) return;
    this.#drained = this.#wait();
    await this.#drained.promise;
  }

  /** Sends a message and waits until it, and so all before it, has been serialized. */
  async sendWhole(message: UpdateRequest): Promise<void> {
    this.throwIfFailed();
    const waiter = this.#wait<void>();
    this.#written.add(waiter);
    this.#call.write(message, () => waiter.resolve());
    await waiter.promise;
    this.#written.delete(waiter);
  }

  /** The ack of the next commit, which is of this step. */
  ack(step: number): Promise<Ack> {
    const waiter = this.#wait<Ack>();
    this.#acks.push({ step, waiter });
    return waiter.promise;
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Half-closes and waits for the server to end the stream. */
  close(): Promise<void> {
    this.#ended ??= this.#wait();
    this.#call.end();
    return this.#ended.promise;
  }

  /** Ends the stream at once, with a failure for whatever waits on it. */
  cancel(failure: Failure): void {
    this.#fail(failure);
    this.#call.cancel();
  }

  #receive(response: UpdateResponse__Output): void {
    try {
      if (response.message === 'opened' && response.opened) this.#opened?.resolve(response.opened);
      else if (response.message === 'ack' && response.ack) this.#acknowledge(toAck(response.ack));
      else throw protocolError(`${response.message ?? 'an empty message'} on an Update stream`);
    } catch (error) {
      this.cancel(toFailure(error));
    }
  }

  #acknowledge(ack: Ack): void {
    const first = this.#acks[0];
    if (first?.step !== ack.step) {
      throw protocolError(`an ack of step ${ack.step} where one of ${first?.step ?? 'no step'} was due`);
    }
    this.#acks.shift();
    first.waiter.resolve(ack);
  }

  #end(): void {
    if (this.#ended !== undefined && this.#acks.length === 0) this.#ended.resolve();
    else this.#fail(new ClientError('UNAVAILABLE', 'the server ended the stream'));
  }

  #fail(failure: Failure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    const acks = this.#acks.splice(0).map(({ waiter }) => waiter);
    for (const waiter of [this.#opened, this.#drained, this.#ended, ...this.#written, ...acks]) waiter?.reject(failure);
  }

  /** A promise that is rejected when the stream fails; nobody need look at it. */
  #wait<Value>(): Waiter<Value> {
    let resolve!: (value: Value) => void;
    let reject!: (failure: Failure) => void;
    const promise = new Promise<Value>((onResolve, onReject) => {
      resolve = onResolve;
      reject = onReject;
    });
    promise.catch(() => {});
    if (this.#failure !== undefined) reject(this.#failure);
    return { promise, resolve, reject };
  }
}
