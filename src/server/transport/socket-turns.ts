import type { ServerHttp2Session } from 'node:http2';
import { type ReadHandle, readHandleOf } from './grpc-internals.js';

/**
 * What may be read in one turn of the event loop, 5 to 10 ms of work. libuv hands over the data of all sockets that have some
 * before anybody else's turn: with a thousand writers that was a third of a second.
 */
export const TURN_COST_MAX = 8 << 20;

/** What a piece of data costs beside its bytes: a small message takes as long as so many bytes of a large one. */
const PIECE_COST = 24 << 10;

/** Sockets that are let go on in one turn, at first and at least; twice as many after a turn that had room for more. */
const BATCH_COUNT_MIN = 16;

/**
 * Divides the reading of the connections of writers into turns: when a turn has had its share, none of them is read until the
 * next one, where those that have waited longest come first. Nothing is lost: what is not read waits in the kernel.
 */
export class SocketTurns {
  readonly #handles = new Map<ServerHttp2Session, ReadHandle>();
  /** Those that are read. */
  readonly #reading = new Set<ReadHandle>();
  /** Those that are not, the longest first. */
  #waiting = new Set<ReadHandle>();
  /** Those that had data in this turn. */
  readonly #served = new Set<ReadHandle>();
  #cost = 0;
  #batchCount = BATCH_COUNT_MIN;
  #isScheduled = false;

  get connectionCount(): number {
    return this.#handles.size;
  }

  /** A connection on which somebody writes. Idempotent. */
  add(session: ServerHttp2Session): void {
    const handle = readHandleOf(session);
    if (handle === undefined || session.closed || this.#handles.has(session)) return;
    this.#handles.set(session, handle);
    this.#reading.add(handle);
    session.once('close', () => {
      this.#handles.delete(session);
      this.#reading.delete(handle);
      this.#waiting.delete(handle);
      this.#served.delete(handle);
    });
  }

  /** Data has come on a connection. */
  arrived(session: ServerHttp2Session, bytes: number): void {
    const handle = this.#handles.get(session);
    if (handle === undefined) return;
    this.#served.add(handle);
    this.#cost += bytes + PIECE_COST;
    this.#schedule();
    // Whoever is alone keeps nobody waiting.
    if (this.#cost >= TURN_COST_MAX && this.#reading.size > 1) this.#stopAll();
  }

  #stopAll(): void {
    for (const handle of this.#reading) handle.readStop();
    const unserved = [...this.#reading].filter((handle) => !this.#served.has(handle));
    this.#waiting = new Set([...unserved, ...this.#waiting, ...this.#served]);
    this.#reading.clear();
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
      this.#reading.add(handle);
      handle.readStart();
    }
    if (this.#waiting.size > 0) this.#schedule();
    else this.#batchCount = BATCH_COUNT_MIN;
  }
}
