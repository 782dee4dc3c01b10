import type { ServerDuplexStream } from '@grpc/grpc-js';

/**
 * The messages of a bidirectional call, one at a time: the next one is taken from the stream when the last one is done
 * with, so HTTP/2's window is the only buffer. (Node's own async iterator destroys the stream when it ends, and the
 * status with it: https://github.com/grpc/grpc-node/issues/1839.)
 */
export class StreamInput<Message> {
  readonly #call: ServerDuplexStream<Message, never>;
  #hasEnded = false;
  #failure: unknown;
  #wake: (() => void) | undefined;
  /** Resolves when no message can come any more. */
  readonly ended: Promise<void>;
  #resolveEnded!: () => void;
  /** Resolves when the peer is gone: it may be so after its half-close too. */
  readonly cancelled: Promise<void>;

  constructor(call: ServerDuplexStream<Message, never>) {
    this.#call = call;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.cancelled = new Promise((resolve) => call.on('cancelled', resolve));
    call.on('readable', () => this.#wake?.());
    call.on('end', () => this.#end());
    call.on('close', () => this.#end());
    call.on('cancelled', () => this.#end());
  }

  /** Makes the loop below throw `error` before it takes another message. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#resolveEnded();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const message: Message | null = this.#hasEnded ? null : this.#call.read();
      if (message !== null) {
        yield message;
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
    this.#resolveEnded();
    this.#wake?.();
  }
}
