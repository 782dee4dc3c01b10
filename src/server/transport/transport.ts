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

/** Fewer, larger DATA frames: 10 to 40 % on loopback. 16 MiB − 1 is the protocol's bound. */
const FRAME_BYTES_MAX = 1 << 20;

/** Streams of all connections: four for each of a thousand writers; a stream costs 20 KB of heap. */
const STREAM_COUNT_MAX = 4_096;

/** An attack ends thousands of streams; the log says so once in a while. */
const SHED_LOG_PAUSE_MS = 10_000;

/** A connection over the cap is served a clear refusal, so many at a time and so long; the rest are cut. */
const REFUSED_COUNT_MAX = 64;
const REFUSED_MS = 2_000;

/** Chunks of hundreds of readers; smaller ones cost more than they save. */
const READ_CHUNK_BYTES_MIN = 64 << 10;

/** A question that names something; only what carries layouts, boxes, patterns or chunks is larger. */
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
 * What the transport holds, in one budget: a quarter of it waits in the windows of streams, half is messages on their
 * way in, a quarter is answers on their way out. All of it is counted; who goes over is refused or ended, never a run.
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
  /** In the order in which the streams came. */
  readonly #meters = new Map<ServerHttp2Stream, StreamMeter>();
  readonly #socketTurns = new SocketTurns();
  #isRelieving = false;
  #refusal: string | undefined;

  /** Bytes in the buffers of all streams. */
  waitingBytes = 0;
  /** Streams that were ended to make room. */
  #shedCount = 0;
  #shedTold = 0;
  #shedToldMs = Number.NEGATIVE_INFINITY;

  constructor({ transportBytes, windowBytes, maxConnections }: TransportOptions, log: Logger) {
    this.messages = new Room(transportBytes / 2);
    this.answers = new Room(transportBytes / 4);
    // Peers take a round trip to see that their window has shrunk.
    this.#waitingBytesMax = transportBytes / 2;
    if (windowBytes > 0) this.#windows = new Windows(transportBytes / 4, windowBytes);
    this.#maxConnections = maxConnections;
    this.#log = log;
  }

  /** Before the server is bound. */
  attach(server: Server): void {
    if (this.#windows !== undefined) addSettings(server, { maxFrameSize: FRAME_BYTES_MAX });
    onHttp2Server(server, (http2Server) => {
      http2Server.on('session', (session: ServerHttp2Session) => this.#connect(session));
    });
    guardStreams(server, (stream, headers) => this.#admit(stream, headers));
  }

  /** Bytes of data in a chunk, so that two for each of so many readers wait in half of the room. */
  readChunkBytes(readerCount: number): number {
    return powerOfTwoWithin(this.answers.totalBytes / 4 / Math.max(1, readerCount), READ_CHUNK_BYTES_MIN);
  }

  /** What a writer shall send in a chunk, so that one for each of all writers fits in an eighth of the room. */
  writeChunkBytes(writerCount: number): number {
    return powerOfTwoWithin(this.messages.totalBytes / 8 / Math.max(1, writerCount), SMALL_MESSAGE_BYTES / 2);
  }

  /** Streams that still send. */
  get senderCount(): number {
    return this.#windows?.senderCount ?? this.#meters.size;
  }

  get streamCount(): number {
    return this.#meters.size;
  }

  /** The meter of a call's stream; undefined: the stream is gone, or is none of ours. */
  meterOf(call: object): StreamMeter | undefined {
    const stream = streamOf(call);
    return stream && this.#meters.get(stream);
  }

  get shedCount(): number {
    return this.#shedCount;
  }

  /** A stream is ended: said in the log now and then, with how many they were. */
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

  /** What new streams are told while the process is short of memory; undefined: they are welcome. */
  set refusal(why: string | undefined) {
    this.#refusal = why;
  }

  /** Ends the newest streams of those that hold something, at most `count`; returns how many. */
  shedNewest(count: number, why: string): number {
    const holding = [...this.#meters.values()].filter(({ heldBytes }) => heldBytes > 0);
    const newest = holding.reverse().slice(0, count);
    for (const meter of newest) meter.shed(why);
    return newest.length;
  }

  /** More waits than all windows together allow: somebody sends more than it was told. */
  checkWaiting(): void {
    if (this.waitingBytes <= this.#waitingBytesMax || this.#isRelieving) return;
    this.#isRelieving = true;
    // Not inside of a read from the connection; nothing else is read before.
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

  /** The newest stream with data of the connection that holds most. */
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

  /** False: the stream was answered with a refusal. */
  #admit(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    stream.on('error', () => undefined);
    const session = stream.session as ServerHttp2Session;
    const path = headers[':path'] ?? '';
    const refusal = this.#reasonAgainst(session, path, headers['grpc-encoding']);
    if (refusal !== undefined) {
      refuseStream(stream, refusal);
      // Nobody listens to what it sends.
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
