import type { ServerHttp2Stream } from 'node:http2';
import { MESSAGE_BYTES_MAX, ShadowkeepError } from '../../common/index.js';
import { takeOnlyTheWindow } from './grpc-internals.js';
import { MessageScanner } from './message-scanner.js';
import { refuseStream } from './refuse-stream.js';
import type { Claim, Claimant, Room } from './room.js';

/** Messages up to it need no claim: acks, questions, the chunks of a thousand writers. Each stream may hold a few. */
export const SMALL_MESSAGE_BYTES = 16 << 10;

/** Whole small messages of one stream that its handler has not taken. */
const SMALL_WAITING_BYTES_MAX = 16 << 10;

/** Whole large messages of one stream that its handler has not taken, the one that it works on included. */
const LARGE_WAITING_MAX = 3;

/** Who sends a message keeps others waiting for so long at most: a chunk of 1 MiB at 200 KB/s. */
const INCOMING_PATIENCE_MS = 5_000;

/** A peer that takes nothing of an answer keeps others waiting for so long at most: 4 MiB at 400 KB/s. */
const ANSWER_PATIENCE_MS = 10_000;

/** A writer waits for the slowest of its world with a chunk in its hands; others may need that memory. */
const WHOLE_PATIENCE_MS = 60_000;

/**
 * A piece of data costs V8 some 160 bytes and its end of a read buffer however short it is, so pieces must have so many
 * bytes on the average, after the first ones. Peers that send no frames of a few bytes on purpose have a thousand.
 */
const PIECE_BYTES_MIN = 256;
const PIECE_COUNT_FREE = 2_048;
/** What an unread piece is counted with beside its bytes. */
const PIECE_COST_BYTES = 256;

/** Pieces up to it are copied, or a byte keeps the 64 KiB alive that it was read with. */
const COPIED_BYTES_MAX = 1_024;

/** What all streams have together. */
export interface SharedBudget {
  /** For messages on their way in, and for answers on their way out. */
  readonly messages: Room;
  readonly answers: Room;
  /** Bytes that have come and are still in the buffers of streams. */
  waitingBytes: number;
  /** Data has come on a connection. */
  noteRead(connection: object, bytes: number): void;
  /** Sheds streams while there are too many of those. */
  checkWaiting(): void;
  /** A stream was ended for what it took from others. */
  noteShed(why: string): void;
  /** A stream has ended. */
  forget(stream: ServerHttp2Stream): void;
}

/**
 * The bytes of one HTTP/2 stream. Node gives a connection's window back as data comes, so only a stream's window holds a
 * peer; and gRPC gathers a message, whatever its length, before anybody can say no. So this looks at the data before gRPC
 * does: it counts what waits, and claims room for a large message when it begins. Until there is, the stream is paused.
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
  /** The claims of large messages, in their order: of those that are whole and not taken, and of the one that comes. */
  readonly #claims: Claim[] = [];
  /** The claims of large answers that the peer has not taken, or that wait for their turn. */
  readonly #answers = new Set<Claim>();
  /** Whole messages that the handler has not taken, in their order. */
  readonly #whole: number[] = [];
  #smallBytes = 0;
  #largeWaiting = 0;
  #freePieces = PIECE_COUNT_FREE;
  /** Bytes that have come and are still in the stream's own buffer, with what their pieces cost. */
  waitingBytes = 0;
  #isTaken = false;
  #isHeld = false;
  /** Whether gRPC wants data. */
  #isWanted = false;

  constructor(transport: SharedBudget, stream: ServerHttp2Stream, connection: object, messageBytesMax: number) {
    this.#transport = transport;
    this.#stream = stream;
    this.connection = connection;
    this.#messageBytesMax = messageBytesMax;
    this.#install();
  }

  /** The handler says when it is done with a message; without that a stream holds its large messages until it ends. */
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

  /** The handler has decoded the only request of its call, and counts elsewhere what it keeps of it. */
  requestTaken(): void {
    this.#claims.shift()?.release();
  }

  /** Claims room for an answer; undefined: so small a one needs none. */
  claimAnswer(bytes: number): Claim | undefined {
    if (bytes <= SMALL_MESSAGE_BYTES || this.#stream.closed) return undefined;
    const claim = this.#transport.answers.claim(this, bytes, ANSWER_PATIENCE_MS);
    this.#answers.add(claim);
    return claim;
  }

  /** Resolves with the room for an answer, or when the signal says that nobody waits for it any more. */
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

  /** The peer has taken an answer. */
  answerTaken(claim: Claim | undefined): void {
    if (claim === undefined) return;
    this.#answers.delete(claim);
    claim.release();
  }

  /** What it keeps from others, bytes. */
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

  /** Gives back all that it holds. Idempotent. */
  close(): void {
    for (const claim of [...this.#claims.splice(0), ...this.#answers]) claim.release();
    this.#answers.clear();
    this.#transport.waitingBytes -= this.waitingBytes;
    this.waitingBytes = 0;
    this.#isHeld = false;
    this.#transport.forget(this.#stream);
  }

  /** Puts itself before gRPC's listener and between gRPC and the stream's flow. */
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
      // What comes after the answer is thrown away.
      return this.#isHeld && !stream.writableEnded ? stream : resume.call(stream);
    };
    // gRPC offers gzip and deflate; they are refused.
    stream.respond = (headers, options) =>
      respond.call(stream, { ...headers, 'grpc-accept-encoding': 'identity' }, options);
    stream.pause();
    stream.on('data', (data: Buffer) => this.#leave(data));
    stream.once('close', () => this.close());
  }

  /** Data has come from the connection. */
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

  /** Data goes on to gRPC. */
  #leave(data: Buffer): void {
    this.#wait(-Math.min(this.waitingBytes, data.length + PIECE_COST_BYTES));
    if (!this.#stream.closed) this.#scanner.take(data);
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
    // What no method takes is refused by gRPC itself.
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

  /** Stops or lets go the flow from the stream to gRPC. */
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
