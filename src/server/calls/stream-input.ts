import type { ServerDuplexStream, ServerReadableStream } from '@grpc/grpc-js';

/** A call whose requests are a stream. */
type InputCall<Message> = ServerDuplexStream<Message, never> | ServerReadableStream<Message, never>;

/** Hears which messages the handler is done with, so that the transport gathers no more than the handler works on. */
export interface MessageMeter {
  /** The handler will call `taken` after each message. */
  takeMessages(): void;
  /** The handler is done with its oldest message. */
  taken(): void;
}

/**
 * The messages of a call, one at a time. The next message is taken from the stream when the handler is done with the
 * last one, so HTTP/2's window is the only buffer. Node's own async iterator is of no use here: it destroys the stream
 * when it ends, and the status with it (https://github.com/grpc/grpc-node/issues/1839).
 */
export class StreamInput<Message> {
  readonly #call: InputCall<Message>;
  readonly #meter: MessageMeter | undefined;
  #hasEnded = false;
  #failure: unknown;
  #wake: (() => void) | undefined;
  #isCancelled = false;
  /** Ends the wait in `hold` when the stream is over. */
  #onOver: (() => void) | undefined;
  /** Resolves when the peer is gone, which may happen after its half-close too. */
  readonly cancelled: Promise<void>;

  constructor(call: InputCall<Message>, meter?: MessageMeter) {
    this.#call = call;
    this.#meter = meter;
    meter?.takeMessages();
    this.cancelled = new Promise((resolve) => call.on('cancelled', resolve));
    call.on('readable', () => this.#wake?.());
    call.on('end', () => this.#end());
    call.on('close', () => this.#end());
    call.on('cancelled', () => {
      this.#isCancelled = true;
      this.#onOver?.();
      this.#end();
    });
  }

  /** Makes the iteration throw `error` before it takes another message. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#onOver?.();
    this.#wake?.();
  }

  /** Waits for something before the next message is taken, or until the stream is over. */
  async hold(something: Promise<unknown>): Promise<void> {
    if (this.isOver) return;
    // Promise.race with a promise that lives as long as the stream would leak: that promise keeps every race's
    // handlers.
    await new Promise<void>((resolve) => {
      this.#onOver = resolve;
      something.then(() => resolve(), resolve);
    });
    this.#onOver = undefined;
  }

  /** Whether the peer is gone or `fail` was called, so that nobody waits for results. A half-close does not count. */
  get isOver(): boolean {
    return this.#isCancelled || this.#failure !== undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const message: Message | null = this.#hasEnded ? null : this.#call.read();
      if (message !== null) {
        yield message;
        this.#meter?.taken();
      } else if (this.#hasEnded) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #end(): void {
    this.#hasEnded = true;
    this.#wake?.();
  }
}
