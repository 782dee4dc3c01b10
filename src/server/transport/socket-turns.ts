import type { ServerHttp2Session } from 'node:http2';
import { type ReadHandle, readHandleOf } from './grpc-internals.js';

/**
 * Cost of the data that may be read in one turn of the event loop: 5 to 10 ms of work. libuv hands over the data of all
 * sockets that have some before anything else runs, which took a third of a second with a thousand writers.
 */
export const TURN_COST_MAX = 8 << 20;

/** Cost of a piece of data beside its bytes: a small message takes as long as this many bytes of a large one. */
const PIECE_COST = 24 << 10;

/** How often peers that have not taken an answer are looked at. */
const LOOK_MS = 10;

/**
 * Sockets that are read again in one turn, at first and at least. After a turn with cost to spare the number doubles.
 */
const BATCH_COUNT_MIN = 16;

/**
 * Divides the reading of writers' connections into turns. When a turn of the event loop has had its share, no
 * connection is read until the next turn, in which those that have waited longest are read first. No data is lost,
 * because what is not read waits in the kernel.
 */
export class SocketTurns {
  readonly #handles = new Map<ServerHttp2Session, ReadHandle>();
  /** The handles that are being read. */
  readonly #reading = new Set<ReadHandle>();
  /** The handles that are stopped, those that have waited longest first. */
  #waiting = new Set<ReadHandle>();
  /** The handles that are stopped because their peer has not taken an answer. */
  readonly #answered = new Set<ReadHandle>();
  #isLooking = false;
  /** The handles that had data in this turn. */
  readonly #served = new Set<ReadHandle>();
  #cost = 0;
  #batchCount = BATCH_COUNT_MIN;
  #isScheduled = false;

  get connectionCount(): number {
    return this.#handles.size;
  }

  /** Adds the connection of a writer. Idempotent. */
  add(session: ServerHttp2Session): void {
    const handle = readHandleOf(session);
    if (handle === undefined || session.closed || this.#handles.has(session)) return;
    this.#handles.set(session, handle);
    this.#reading.add(handle);
    session.once('close', () => {
      this.#handles.delete(session);
      this.#reading.delete(handle);
      this.#waiting.delete(handle);
      this.#answered.delete(handle);
      this.#served.delete(handle);
    });
  }

  /** Says that data has come on a connection. */
  arrived(session: ServerHttp2Session, bytes: number): void {
    const handle = this.#handles.get(session);
    if (handle === undefined) return;
    this.#served.add(handle);
    // Node has started the reading by itself.
    if (this.#answered.delete(handle)) this.#reading.add(handle);
    this.#cost += bytes + PIECE_COST;
    this.#schedule();
    // A single connection keeps no other waiting, so it is not stopped.
    if (this.#cost >= TURN_COST_MAX && this.#reading.size > 1) this.#stopAll();
  }

  #stopAll(): void {
    for (const handle of this.#reading) handle.readStop();
    const unserved = [...this.#reading].filter((handle) => !this.#served.has(handle));
    this.#waiting = new Set([...unserved, ...this.#waiting, ...this.#served]);
    this.#reading.clear();
  }

  /** Reads a connection, unless its peer does not take what it is answered: such a peer must not go on asking. */
  #startUnlessAnswered(handle: ReadHandle): void {
    if (handle.writeQueueSize > 0) {
      this.#answered.add(handle);
      return;
    }
    this.#answered.delete(handle);
    this.#reading.add(handle);
    handle.readStart();
  }

  /**
   * Looks again and again whether peers have taken their answers. Some versions of Node start the reading then, others do
   * not.
   */
  #lookAtAnswered(): void {
    if (this.#answered.size === 0 || this.#isLooking) return;
    this.#isLooking = true;
    setTimeout(() => {
      this.#isLooking = false;
      for (const handle of this.#answered) this.#startUnlessAnswered(handle);
      this.#lookAtAnswered();
    }, LOOK_MS).unref();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#nextTurn());
  }

  #nextTurn(): void {
    this.#isScheduled = false;
    const isFull = this.#cost >= TURN_COST_MAX;
    this.#cost = 0;
    this.#served.clear();
    this.#batchCount = isFull ? Math.max(BATCH_COUNT_MIN, this.#batchCount / 2) : this.#batchCount * 2;
    let left = this.#batchCount;
    for (const handle of this.#waiting) {
      if (left-- <= 0) break;
      this.#waiting.delete(handle);
      this.#startUnlessAnswered(handle);
    }
    this.#lookAtAnswered();
    if (this.#waiting.size > 0) this.#schedule();
    else this.#batchCount = BATCH_COUNT_MIN;
  }
}
