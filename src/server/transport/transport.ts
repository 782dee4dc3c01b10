import { constants, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { type Logger, MESSAGE_BYTES_MAX, ShadowkeepError } from '../../common/index.js';
import { SERVICE_NAME } from '../../protocol/index.js';
import { addSettings, guardStreams, onHttp2Server, streamOf } from './grpc-internals.js';
import { powerOfTwoWithin } from './power-of-two.js';
import { refuseStream } from './refuse-stream.js';
import { Room } from './room.js';
import { SocketTurns } from './socket-turns.js';
import { type SharedBudget, SMALL_MESSAGE_BYTES, StreamMeter } from './stream-meter.js';
import { Windows } from './windows.js';

/** Largest DATA frame. Fewer, larger frames gain 10 to 40 % on loopback; HTTP/2 allows up to 16 MiB − 1. */
const FRAME_BYTES_MAX = 1 << 20;

/** Most streams of all connections together: four for each of a thousand writers. A stream costs 20 KB of heap. */
const STREAM_COUNT_MAX = 4_096;

/** Least time between two lines of the log about ended streams, because an attack makes the server end thousands. */
const SHED_LOG_PAUSE_MS = 10_000;

/**
 * Connections over the cap that are kept open at a time to answer their calls with a clear refusal, and for how long.
 * The rest are cut without an answer.
 */
const REFUSED_COUNT_MAX = 64;
const REFUSED_MS = 2_000;

/**
 * Smallest chunk that is sent to readers when there are hundreds. Smaller chunks cost more time than they save memory.
 */
const READ_CHUNK_BYTES_MIN = 64 << 10;

/** Largest request of a method that only names something. Methods with layouts, boxes, patterns or chunks take more. */
const QUESTION_BYTES_MAX = 64 << 10;
const LARGE_METHODS = ['OpenRun', 'OpenRunInParts', 'Update', 'GetShadow', 'AddAverage'].map(
  (name) => `/${SERVICE_NAME}/${name}`,
);

const UPDATE_METHOD = `/${SERVICE_NAME}/Update`;

const HEALTH_PREFIX = '/grpc.health.v1.Health/';

export interface TransportOptions {
  readonly transportBytes: number;
  readonly windowBytes: number;
  readonly maxConnections: number;
}

/**
 * Keeps what the transport holds within one budget: a quarter for data that waits in the windows of streams, half for
 * messages on their way in, a quarter for answers on their way out. All of it is counted. A stream that would exceed
 * the budget is refused or ended; a run is never harmed.
 */
export class Transport implements SharedBudget {
  readonly messages: Room;
  readonly answers: Room;
  readonly #windows: Windows | undefined;
  readonly #maxConnections: number;
  readonly #waitingBytesMax: number;
  readonly #log: Logger;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #refused = new Set<ServerHttp2Session>();
  /** The meter of each open stream, in the order in which the streams were opened. */
  readonly #meters = new Map<ServerHttp2Stream, StreamMeter>();
  readonly #socketTurns = new SocketTurns();
  #isRelieving = false;
  #refusal: string | undefined;

  /** Bytes that have come and wait in the buffers of all streams. */
  waitingBytes = 0;
  /** Streams that were ended to make room. */
  #shedCount = 0;
  #shedTold = 0;
  #shedToldMs = Number.NEGATIVE_INFINITY;

  constructor({ transportBytes, windowBytes, maxConnections }: TransportOptions, log: Logger) {
    this.messages = new Room(transportBytes / 2);
    this.answers = new Room(transportBytes / 4);
    // Twice the windows' share, because peers need a round trip to see that their window has shrunk.
    this.#waitingBytesMax = transportBytes / 2;
    if (windowBytes > 0) this.#windows = new Windows(transportBytes / 4, windowBytes);
    this.#maxConnections = maxConnections;
    this.#log = log;
  }

  /** Takes over the server's connections and streams. Call before the server is bound. */
  attach(server: Server): void {
    if (this.#windows !== undefined) addSettings(server, { maxFrameSize: FRAME_BYTES_MAX });
    onHttp2Server(server, (http2Server) => {
      http2Server.on('session', (session: ServerHttp2Session) => this.#connect(session));
    });
    guardStreams(server, (stream, headers) => this.#admit(stream, headers));
  }

  /**
   * Bytes of data in a reader's chunk, so that two chunks of each of `readerCount` readers fit in half of their room.
   */
  readChunkBytes(readerCount: number): number {
    return powerOfTwoWithin(this.answers.totalBytes / 4 / Math.max(1, readerCount), READ_CHUNK_BYTES_MIN);
  }

  /**
   * Bytes of data in a writer's chunk, so that one chunk of each of `writerCount` writers fits in an eighth of the
   * room.
   */
  writeChunkBytes(writerCount: number): number {
    return powerOfTwoWithin(this.messages.totalBytes / 8 / Math.max(1, writerCount), SMALL_MESSAGE_BYTES / 2);
  }

  /** How many streams have not half-closed yet. */
  get senderCount(): number {
    return this.#windows?.senderCount ?? this.#meters.size;
  }

  get streamCount(): number {
    return this.#meters.size;
  }

  /** The meter of a call's stream; undefined when the stream is gone. */
  meterOf(call: object): StreamMeter | undefined {
    const stream = streamOf(call);
    return stream && this.#meters.get(stream);
  }

  get shedCount(): number {
    return this.#shedCount;
  }

  /** Counts a stream that is ended to make room, and logs now and then how many there were. */
  noteShed(why: string): void {
    this.#shedCount += 1;
    const nowMs = performance.now();
    if (nowMs - this.#shedToldMs < SHED_LOG_PAUSE_MS) return;
    const streams = this.#shedCount - this.#shedTold;
    const [incomingBytes, outgoingBytes] = [this.messages.usedBytes, this.answers.usedBytes];
    const figures = { streams, waitingBytes: this.waitingBytes, incomingBytes, outgoingBytes };
    this.#log.warn(figures, `streams are ended to make room: ${why}`);
    this.#shedTold = this.#shedCount;
    this.#shedToldMs = nowMs;
  }

  /** Why new streams are refused while the process is short of memory; undefined when they are welcome. */
  set refusal(why: string | undefined) {
    this.#refusal = why;
  }

  /** Ends the newest streams of those that hold memory, at most `count`. Returns how many it ended. */
  shedNewest(count: number, why: string): number {
    const holding = [...this.#meters.values()].filter(({ heldBytes }) => heldBytes > 0);
    const newest = holding.reverse().slice(0, count);
    for (const meter of newest) meter.shed(why);
    return newest.length;
  }

  /** Ends streams when more bytes wait than all windows together allow: some peer has sent more than its window. */
  checkWaiting(): void {
    if (this.waitingBytes <= this.#waitingBytesMax || this.#isRelieving) return;
    this.#isRelieving = true;
    // nextTick: a stream must not be ended inside of a read from its connection, and nothing else is read before the
    // tick.
    process.nextTick(() => {
      this.#isRelieving = false;
      while (this.waitingBytes > this.#waitingBytesMax) this.#shedHeaviest();
    });
  }

  noteRead(connection: object, bytes: number): void {
    this.#socketTurns.arrived(connection as ServerHttp2Session, bytes);
  }

  forget(stream: ServerHttp2Stream): void {
    this.#meters.delete(stream);
  }

  /** Ends the newest stream with waiting data, of the connection that has most waiting data. */
  #shedHeaviest(): void {
    const bytesOf = new Map<object, number>();
    for (const { connection, waitingBytes } of this.#meters.values()) {
      bytesOf.set(connection, (bytesOf.get(connection) ?? 0) + waitingBytes);
    }
    const [heaviest] = [...bytesOf].reduce((most, next) => (next[1] > most[1] ? next : most));
    const newest = [...this.#meters.values()].findLast(
      ({ connection, waitingBytes }) => connection === heaviest && waitingBytes > 0,
    );
    newest?.shed(`${this.waitingBytes} bytes wait for all streams together, at most ${this.#waitingBytesMax} may`);
  }

  #connect(session: ServerHttp2Session): void {
    if (this.#sessions.size >= this.#maxConnections) {
      this.#refuse(session);
      return;
    }
    this.#sessions.add(session);
    session.once('close', () => this.#sessions.delete(session));
    this.#windows?.attach(session);
  }

  #refuse(session: ServerHttp2Session): void {
    if (this.#refused.size === 0) this.#log.warn({ maxConnections: this.#maxConnections }, 'connections are refused');
    if (this.#refused.size >= REFUSED_COUNT_MAX) {
      session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    this.#refused.add(session);
    const timer = setTimeout(() => session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM), REFUSED_MS).unref();
    session.once('close', () => {
      clearTimeout(timer);
      this.#refused.delete(session);
    });
  }

  /** Returns whether gRPC shall get the stream; if not, the stream has been answered with a refusal. */
  #admit(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    stream.on('error', () => undefined);
    const session = stream.session as ServerHttp2Session;
    const path = headers[':path'] ?? '';
    const refusal = this.#reasonAgainst(session, path, headers['grpc-encoding']);
    if (refusal !== undefined) {
      refuseStream(stream, refusal);
      // Data of a refused stream is read and thrown away, because nobody handles it.
      stream.resume();
      return false;
    }
    if (path === UPDATE_METHOD) this.#socketTurns.add(session);
    const isLarge = LARGE_METHODS.includes(path);
    this.#meters.set(stream, new StreamMeter(this, stream, session, isLarge ? MESSAGE_BYTES_MAX : QUESTION_BYTES_MAX));
    const sent = this.#windows?.begin();
    if (sent !== undefined) stream.once('end', sent).once('close', sent);
    return true;
  }

  #reasonAgainst(
    session: ServerHttp2Session,
    path: string,
    encoding: string | string[] | undefined,
  ): ShadowkeepError | undefined {
    if (this.#refused.has(session)) {
      const problem = `the server has ${this.#maxConnections} connections, its most (--max-connections)`;
      return new ShadowkeepError('TOO_MANY_CONNECTIONS', problem);
    }
    if (encoding !== undefined && encoding !== 'identity') {
      const problem = `grpc-encoding must be identity, got ${encoding}: weights do not compress`;
      return new ShadowkeepError('COMPRESSION_UNSUPPORTED', problem);
    }
    if (path.startsWith(HEALTH_PREFIX)) return undefined;
    if (this.#refusal !== undefined) return new ShadowkeepError('TRANSPORT_EXHAUSTED', this.#refusal);
    if (this.#meters.size < STREAM_COUNT_MAX) return undefined;
    return new ShadowkeepError('TRANSPORT_EXHAUSTED', `the server has ${STREAM_COUNT_MAX} streams, its most`);
  }
}
