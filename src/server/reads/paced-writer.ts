import type { ResponseStream } from '../calls/write-message.js';

/**
 * Most messages that a reader's stream holds at a time. Node's own mark is 16 and its 'drain' event comes when all of
 * them are gone, so a writer that waits for 'drain' leaves the connection idle each time. A writer that holds fewer and
 * adds one for each that is gone keeps the connection busy.
 */
export const IN_FLIGHT_MAX = 8;

/** Writes the messages of a long answer no faster than the peer takes them. */
export class PacedWriter<Message> {
  readonly #call: ResponseStream<Message>;
  readonly #timeoutMs: number;
  readonly #inFlightMax: () => number;
  #inFlight = 0;
  #wake: (() => void) | undefined;

  /**
   * `timeoutMs`: longest wait for the peer to take a message. `inFlightMax`: how many messages the stream may hold now.
   */
  constructor(call: ResponseStream<Message>, timeoutMs: number, inFlightMax = () => IN_FLIGHT_MAX) {
    this.#inFlightMax = inFlightMax;
    this.#call = call;
    this.#timeoutMs = timeoutMs;
    call.on('close', () => this.#wake?.());
  }

  /**
   * Writes a message and calls `written` when it has left the stream. Resolves to true when there is room for another
   * message or the peer is gone, to false when the peer has taken none in the constructor's `timeoutMs`.
   */
  async write(message: Message, written?: () => void): Promise<boolean> {
    if (this.#call.destroyed || this.#call.writableEnded) return true;
    this.#inFlight += 1;
    this.#call.write(message, () => {
      this.#inFlight -= 1;
      written?.();
      this.#wake?.();
    });
    if (this.#inFlight < this.#inFlightMax()) return true;
    return await new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(resolve, false, timer), this.#timeoutMs);
      this.#wake = () => this.#settle(resolve, true, timer);
    });
  }

  #settle(resolve: (inTime: boolean) => void, inTime: boolean, timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#wake = undefined;
    resolve(inTime);
  }
}
