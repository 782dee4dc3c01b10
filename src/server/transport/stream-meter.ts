import type { ServerHttp2Stream } from 'node:http2';
import { MESSAGE_BYTES_MAX, ShadowkeepError } from '../../common/index.js';
import { takeOnlyTheWindow } from './grpc-internals.js';
import { MessageScanner } from './message-scanner.js';
import { refuseStream } from './refuse-stream.js';
import type { Claim, Claimant, Room } from './room.js';

/** Messages up to this length need no claim: acks, short requests, the chunks of a thousand writers. */
export const SMALL_MESSAGE_BYTES = 16 << 10;

/** Bytes of small messages of one stream that its handler has not taken, from which on the stream is paused. */
const SMALL_WAITING_BYTES_MAX = 16 << 10;

/** Large messages of one stream at which it is paused: those waiting for its handler and the one that it works on. */
const LARGE_WAITING_MAX = 3;

/** Longest time that a message on its way in may keep others waiting: enough for a chunk of 1 MiB at 200 KB/s. */
const INCOMING_PATIENCE_MS = 5_000;

/** Longest time that an answer on its way out may keep others waiting: enough for 4 MiB at 400 KB/s. */
const ANSWER_PATIENCE_MS = 10_000;

/**
 * Longest time that a whole message may keep others waiting. Its handler may wait for the slowest writer of the run
 * while it holds the message, and others may need that memory.
 */
const WHOLE_PATIENCE_MS = 60_000;

/**
 * A piece of data costs V8 some 160 bytes however short it is, and a piece of a read buffer. So after the first
 * PIECE_COUNT_FREE pieces of a message they must have PIECE_BYTES_MIN bytes on the average. Peers that do not send tiny
 * frames on purpose have a thousand bytes in a piece.
 */
const PIECE_BYTES_MIN = 256;
const PIECE_COUNT_FREE = 2_048;
/** Bytes that an unread piece is counted with in addition to its data. */
const PIECE_COST_BYTES = 256;

/** Pieces up to this length are copied. Otherwise a single byte keeps the 64 KiB buffer alive that it was read into. */
const COPIED_BYTES_MAX = 1_024;

/** The part of the transport that its streams see: the budget that they share. */
export interface SharedBudget {
  /** Room for messages on their way in. */
  readonly messages: Room;
  /** Room for answers on their way out. */
  readonly answers: Room;
  /** Bytes that have come and wait in the buffers of all streams. */
  waitingBytes: number;
  /** Says that data has come on a connection. */
  noteRead(connection: object, bytes: number): void;
  /** Sheds streams while too many bytes wait. */
  checkWaiting(): void;
  /** Says that a stream was ended to make room for others. */
  noteShed(why: string): void;
  /** Says that a stream has ended. */
  forget(stream: ServerHttp2Stream): void;
}

/**
 * Counts the bytes of one HTTP/2 stream. Node gives a connection's window back as data comes, so only a stream's own
 * window holds a peer back, and gRPC gathers a message of any length before anybody can refuse it. So the meter sees
 * the data before gRPC does: it counts what waits, claims room for a large message when the message begins, and pauses
 * the stream until the room is granted.
 */
export class StreamMeter implements Claimant {
  readonly #transport: SharedBudget;
  readonly #stream: ServerHttp2Stream;
  readonly connection: object;
  readonly #messageBytesMax: number;
  readonly #scanner = new MessageScanner({
    begins: (bytes, isCompressed) => this.#begin(bytes, isCompressed),
    ends: (bytes) => this.#end(bytes),
  });
  /**
   * The claims of large messages, in order: of those that are whole and not taken, then of the one that is arriving.
   */
  readonly #claims: Claim[] = [];
  /** The claims of large answers that the peer has not taken, or that wait for room. */
  readonly #answers = new Set<Claim>();
  /** Lengths of the whole messages that the handler is not done with, in order. */
  readonly #whole: number[] = [];
  #smallBytes = 0;
  #largeWaiting = 0;
  #freePieces = PIECE_COUNT_FREE;
  /** Bytes that have come and wait in the stream's own buffer, with PIECE_COST_BYTES for each piece. */
  waitingBytes = 0;
  #isTaken = false;
  #isHeld = false;
  /** Whether gRPC has resumed the stream, and not paused it since. */
  #isWanted = false;

  constructor(transport: SharedBudget, stream: ServerHttp2Stream, connection: object, messageBytesMax: number) {
    this.#transport = transport;
    this.#stream = stream;
    this.connection = connection;
    this.#messageBytesMax = messageBytesMax;
    this.#install();
  }

  /**
   * The handler will call `taken` after each message. If it does not, the stream holds its large messages until it
   * ends.
   */
  takeMessages(): void {
    this.#isTaken = true;
  }

  /** The handler is done with its oldest message. */
  taken(): void {
    const bytes = this.#whole.shift();
    if (bytes === undefined) return;
    if (bytes > SMALL_MESSAGE_BYTES) {
      this.#largeWaiting -= 1;
      this.#claims.shift()?.release();
    } else {
      this.#smallBytes -= bytes;
    }
    this.#hold();
  }

  /** Says that the handler has decoded the only request of its call, and has reserved what it keeps of it elsewhere. */
  requestTaken(): void {
    this.#claims.shift()?.release();
  }

  /** Claims room for an answer of `bytes` bytes; returns undefined for one that is so small that it needs no claim. */
  claimAnswer(bytes: number): Claim | undefined {
    if (bytes <= SMALL_MESSAGE_BYTES || this.#stream.closed) return undefined;
    const claim = this.#transport.answers.claim(this, bytes, ANSWER_PATIENCE_MS);
    this.#answers.add(claim);
    return claim;
  }

  /** Claims room for an answer and waits until it is granted or the signal is aborted. */
  async answerRoom(bytes: number, signal: AbortSignal): Promise<Claim | undefined> {
    const claim = this.claimAnswer(bytes);
    if (claim === undefined || claim.isGranted || signal.aborted) return claim;
    let stop = (): void => undefined;
    await new Promise<void>((resolve) => {
      stop = resolve;
      claim.whenGranted(resolve);
      signal.addEventListener('abort', stop);
    });
    signal.removeEventListener('abort', stop);
    return claim;
  }

  /** Says that the peer has taken an answer. */
  answerTaken(claim: Claim | undefined): void {
    if (claim === undefined) return;
    this.#answers.delete(claim);
    claim.release();
  }

  /** Bytes of the transport's budget that the stream holds. */
  get heldBytes(): number {
    const claims = [...this.#claims, ...this.#answers].filter(({ isGranted }) => isGranted);
    return claims.reduce((sum, { bytes }) => sum + bytes, this.waitingBytes + this.#smallBytes);
  }

  shed(why: string): void {
    this.#transport.noteShed(why);
    this.refuse(new ShadowkeepError('TRANSPORT_EXHAUSTED', `the server ended this stream: ${why}`));
  }

  refuse(error: ShadowkeepError): void {
    refuseStream(this.#stream, error);
    this.close();
  }

  /** Gives back all that the stream holds. Idempotent. */
  close(): void {
    for (const claim of [...this.#claims.splice(0), ...this.#answers]) claim.release();
    this.#answers.clear();
    this.#transport.waitingBytes -= this.waitingBytes;
    this.waitingBytes = 0;
    this.#isHeld = false;
    this.#transport.forget(this.#stream);
  }

  /** Wraps the stream's methods so that the meter sees data before gRPC does and decides when data flows. */
  #install(): void {
    const stream = this.#stream;
    const { push, pause, resume, respond } = stream;
    takeOnlyTheWindow(stream);
    stream.push = (data, encoding) => push.call(stream, data === null ? null : this.#arrive(data), encoding);
    stream.pause = () => {
      this.#isWanted = false;
      return pause.call(stream);
    };
    stream.resume = () => {
      this.#isWanted = true;
      // After the answer nobody handles the stream's data, so a held stream flows again and its data is thrown away.
      return this.#isHeld && !stream.writableEnded ? stream : resume.call(stream);
    };
    // gRPC's headers offer gzip and deflate, which this server refuses.
    stream.respond = (headers, options) =>
      respond.call(stream, { ...headers, 'grpc-accept-encoding': 'identity' }, options);
    stream.pause();
    stream.on('data', (data: Buffer) => this.#leave(data));
    stream.once('close', () => this.close());
  }

  /** Counts data that has come from the connection. Returns what goes into the stream's buffer. */
  #arrive(data: Buffer): Buffer {
    this.#transport.noteRead(this.connection, data.length);
    if (this.#stream.closed) return data;
    this.#freePieces = Math.min(PIECE_COUNT_FREE, this.#freePieces - 1 + data.length / PIECE_BYTES_MIN);
    if (this.#freePieces < 0) {
      this.shed(`its data came in more than ${PIECE_COUNT_FREE} pieces of less than ${PIECE_BYTES_MIN} bytes`);
      return data;
    }
    this.#wait(data.length + PIECE_COST_BYTES);
    return data.length > COPIED_BYTES_MAX ? data : Buffer.from(new Uint8Array(data).buffer);
  }

  /** Counts data that leaves the stream's buffer to gRPC. */
  #leave(data: Buffer): void {
    this.#wait(-Math.min(this.waitingBytes, data.length + PIECE_COST_BYTES));
    if (!this.#stream.closed) this.#scanner.scan(data);
  }

  #wait(bytes: number): void {
    this.waitingBytes += bytes;
    this.#transport.waitingBytes += bytes;
    if (bytes > 0) this.#transport.checkWaiting();
  }

  #begin(bytes: number, isCompressed: boolean): void {
    if (isCompressed) {
      this.refuse(new ShadowkeepError('COMPRESSION_UNSUPPORTED', 'messages must not be compressed'));
      return;
    }
    // gRPC itself refuses a message over MESSAGE_BYTES_MAX, which no method takes.
    if (bytes > this.#messageBytesMax && bytes <= MESSAGE_BYTES_MAX) {
      const problem = `a message of this method has at most ${this.#messageBytesMax} bytes, got ${bytes}`;
      this.refuse(new ShadowkeepError('INVALID_FIELD', problem));
      return;
    }
    if (bytes <= SMALL_MESSAGE_BYTES || bytes > MESSAGE_BYTES_MAX) return;
    const claim = this.#transport.messages.claim(this, bytes, INCOMING_PATIENCE_MS);
    this.#claims.push(claim);
    claim.whenGranted(() => this.#hold());
    this.#hold();
  }

  #end(bytes: number): void {
    this.#freePieces = PIECE_COUNT_FREE;
    const claim = bytes > SMALL_MESSAGE_BYTES ? this.#claims.at(-1) : undefined;
    if (claim !== undefined) claim.patienceMs = WHOLE_PATIENCE_MS;
    if (!this.#isTaken) return;
    this.#whole.push(bytes);
    if (claim === undefined) this.#smallBytes += bytes;
    else this.#largeWaiting += 1;
    this.#hold();
  }

  /** Pauses or resumes the flow from the stream to gRPC, by what the stream holds and waits for. */
  #hold(): void {
    const isFull = this.#smallBytes > SMALL_WAITING_BYTES_MAX || this.#largeWaiting >= LARGE_WAITING_MAX;
    const isHeld = !this.#stream.closed && (isFull || this.#claims.some(({ isGranted }) => !isGranted));
    if (isHeld === this.#isHeld) return;
    this.#isHeld = isHeld;
    const isWanted = this.#isWanted;
    if (isHeld) {
      this.#stream.pause();
      this.#isWanted = isWanted;
    } else if (isWanted) {
      this.#stream.resume();
    }
  }
}
