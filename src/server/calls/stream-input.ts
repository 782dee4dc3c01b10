import type { ServerDuplexStream, ServerReadableStream } from '@grpc/grpc-js';

/** A call whose requests are a stream. */
type InputCall<Message> = ServerDuplexStream<Message, never> | ServerReadableStream<Message, never>;

/** Hears which messages are done with, so that no more are gathered than are worked on. */
export interface MessageMeter {
  takeMessages(): void;
  taken(): void;
}

/**
 * The messages of a call, one at a time: the next one is taken from the stream when the last one is done
 * with, so HTTP/2's window is the only buffer. (Node's own async iterator destroys the stream when it ends, and the
 * status with it: https://github.com/grpc/grpc-node/issues/1839.)
 */
export class StreamInput<Message> {
  readonly #call: InputCall<Message>;
  readonly #meter: MessageMeter | undefined;
  #hasEnded = false;
  #failure: unknown;
  #wake: (() => void) | undefined;
  #isCancelled = false;
  /** Says to who waits for something else that the stream is over. */
  #onOver: (() => void) | undefined;
  /** Resolves when the peer is gone: it may be so after its half-close too. */
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

  /** Makes the loop below throw `error` before it takes another message. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#onOver?.();
    this.#wake?.();
  }

  /** Waits for something before the next message is taken, or until the stream is over. */
  async hold(something: Promise<unknown>): Promise<void> {
    if (this.isOver) return;
    // No race with a promise that lives as long as the stream: it would keep what each race leaves behind.
    await new Promise<void>((resolve) => {
      this.#onOver = resolve;
      something.then(() => resolve(), resolve);
    });
    this.#onOver = undefined;
  }

  /** Nobody waits for what its messages would bring: the peer is gone, or it was failed. A half-close is no end yet. */
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
