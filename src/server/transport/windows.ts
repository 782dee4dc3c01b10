import type { ServerHttp2Session } from 'node:http2';
import { powerOfTwoWithin } from './power-of-two.js';

/** The smallest window. With it a thousand writers at a round trip of 2 ms still fill 4 GB/s. */
const WINDOW_BYTES_MIN = 8 << 10;

/** Pause before peers are told of a larger window, because short requests come and go. */
const GROWTH_DELAY_MS = 1_000;

/**
 * Divides a budget into the receive windows of all streams: each stream that still sends gets the same power of two.
 * HTTP/2 lets a server change the window of open streams, so no window is granted for good. A peer that sends more than
 * its window is found by the bytes that wait (transport.ts). The window of a whole connection holds nobody back,
 * because Node gives it back as data comes.
 */
export class Windows {
  readonly #budgetBytes: number;
  readonly #windowBytesMax: number;
  readonly #sessions = new Set<ServerHttp2Session>();
  /** Sessions whose peer has not acknowledged its last change of the window; a session has one change at a time. */
  readonly #changing = new Set<ServerHttp2Session>();
  #senders = 0;
  #windowBytes: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(budgetBytes: number, windowBytesMax: number) {
    this.#budgetBytes = budgetBytes;
    this.#windowBytesMax = windowBytesMax;
    this.#windowBytes = this.#share();
  }

  /** The window of each stream now, bytes. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  get senderCount(): number {
    return this.#senders;
  }

  attach(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.once('close', () => {
      this.#sessions.delete(session);
      this.#changing.delete(session);
    });
    session.setLocalWindowSize(this.#windowBytesMax);
    this.#tell(session);
  }

  /**
   * Says that a stream has begun to send. The returned function says that it has stopped; that function is idempotent.
   */
  begin(): () => void {
    this.#senders += 1;
    let isSending = true;
    this.#adapt();
    return () => {
      if (!isSending) return;
      isSending = false;
      this.#senders -= 1;
      if (this.#share() > this.#windowBytes) this.#timer ??= setTimeout(() => this.#grow(), GROWTH_DELAY_MS).unref();
    };
  }

  #grow(): void {
    this.#timer = undefined;
    this.#adapt(true);
  }

  #adapt(mayGrow = false): void {
    const windowBytes = this.#share();
    if (windowBytes === this.#windowBytes || (windowBytes > this.#windowBytes && !mayGrow)) return;
    this.#windowBytes = windowBytes;
    for (const session of this.#sessions) this.#tell(session);
  }

  #share(): number {
    const share = powerOfTwoWithin(this.#budgetBytes / Math.max(1, this.#senders), WINDOW_BYTES_MIN);
    return Math.min(this.#windowBytesMax, share);
  }

  #tell(session: ServerHttp2Session): void {
    if (session.destroyed || session.closed || this.#changing.has(session)) return;
    const told = this.#windowBytes;
    this.#changing.add(session);
    session.settings({ initialWindowSize: told }, () => {
      this.#changing.delete(session);
      if (told !== this.#windowBytes) this.#tell(session);
    });
  }
}
