import type { ClientReadableStream } from '@grpc/grpc-js';
import { type Failure, toFailure } from './errors.js';

/**
 * The messages of a server stream, one at a time. What is not asked for stays with the server, except for the few
 * messages that the stream and its window hold. The reader listens from the start, so that a failure between two calls
 * of `next` is kept for the next one.
 */
export class ResponseReader<Message> implements AsyncIterable<Message> {
  #failure: Failure | undefined;
  #ended = false;
  #cancelled = false;
  readonly #call: ClientReadableStream<Message>;
  readonly #signal: AbortSignal | undefined;
  #wake: () => void = () => {};
  readonly #onAbort = () => this.cancel();

  constructor(call: ClientReadableStream<Message>, signal: AbortSignal | undefined) {
    this.#call = call;
    this.#signal = signal;
    call.on('readable', () => this.#wake());
    call.on('end', () => {
      this.#ended = true;
      this.#finish();
    });
    call.on('error', (error) => {
      this.#failure ??= toFailure(error);
      this.#finish();
    });
    if (signal?.aborted) this.cancel();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /**
   * The next message, or undefined at the end of the stream. Rejects with the server's error or the signal's reason.
   */
  async next(): Promise<Message | undefined> {
    for (;;) {
      this.#signal?.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      const message = this.#call.read() as Message | null;
      if (message !== null) return message;
      if (this.#ended || this.#cancelled) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    try {
      for (let message = await this.next(); message !== undefined; message = await this.next()) yield message;
    } finally {
      this.cancel();
    }
  }

  /** Ends the call. Does nothing when the call has ended. */
  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    if (!this.#ended) this.#call.cancel();
    this.#finish();
  }

  #finish(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#wake();
  }
}
