import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { SocketTurns, TURN_COST_MAX } from '../../../src/server/transport/socket-turns.js';
import { frame, PREFACE } from './frames.js';

const WAIT = { timeout: 60_000 };

const [DATA, HEADERS, SETTINGS, WINDOW_UPDATE] = [0, 1, 4, 8];
const [END_STREAM, END_HEADERS] = [1, 4];
/** The encoded headers of a request: method POST, scheme http, path / and authority x. */
const REQUEST = Buffer.from([0x83, 0x86, 0x84, 0x01, 0x01, 0x78]);

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A connection's first bytes: a request, with windows so large that the server may send as much as it wants. */
const OPENING = Buffer.concat([
  PREFACE,
  frame(SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(2 ** 31 - 1)])),
  frame(WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1 - 65_535)),
  frame(HEADERS, END_HEADERS, 1, REQUEST),
]);

const DATA_BYTES = 10_000;
const WHOLE_DATA = frame(DATA, END_STREAM, 1, Buffer.alloc(DATA_BYTES));

const ANSWER_BYTES = 32 << 20;

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A server with two peers, each of which has one open stream. */
class TwoPeers {
  readonly turns = new SocketTurns();
  readonly streams: ServerHttp2Stream[] = [];
  bytesRead = 0;
  peer!: Socket;
  #server!: Http2Server;
  #isStopped = false;

  async start(): Promise<this> {
    this.#server = createServer();
    this.#server.on('sessionError', () => undefined);
    this.#server.on('stream', (stream) => {
      this.streams.push(stream);
      this.turns.add(stream.session as ServerHttp2Session);
      stream.on('error', () => undefined);
      stream.on('data', (data: Buffer) => {
        this.bytesRead += data.length;
      });
      stream.respond();
    });
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => void this.#server.close());
    this.peer = await this.#connect();
    await this.#connect();
    return this;
  }

  /** Stops reading both connections until `goOn` is called. */
  stop(): void {
    this.#isStopped = true;
    const other = this.streams[1]!.session as ServerHttp2Session;
    const again = (): void => {
      if (!this.#isStopped) return;
      this.turns.arrived(other, TURN_COST_MAX);
      setImmediate(again);
    };
    again();
  }

  goOn(): void {
    this.#isStopped = false;
  }

  /** Answers the peer's stream with more than the kernel takes. */
  answer(): void {
    this.streams[0]!.end(Buffer.alloc(ANSWER_BYTES));
  }

  async send(bytes: Buffer): Promise<void> {
    await new Promise((resolve) => this.peer.write(bytes, resolve));
  }

  /** Returns a peer that has opened a stream and then reads nothing. */
  async #connect(): Promise<Socket> {
    const before = this.streams.length;
    const socket = connect((this.#server.address() as AddressInfo).port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => undefined);
    socket.write(OPENING);
    await expect.poll(() => this.streams.length, WAIT).toBe(before + 1);
    return socket;
  }
}

const REQUESTS = 500;
const requests = Buffer.concat(
  Array.from({ length: REQUESTS }, (_, index) => frame(HEADERS, END_HEADERS | END_STREAM, 3 + 2 * index, REQUEST)),
);

test('a peer that takes no answers is not read again by a turn, and is when it takes them', async () => {
  const peers = await new TwoPeers().start();
  peers.answer();
  await turn();
  peers.stop();
  await peers.send(requests);
  peers.goOn();
  for (let count = 0; count < 100; count++) await turn();
  expect(peers.streams).toHaveLength(2);
  peers.peer.resume();
  await expect.poll(() => peers.streams.length, WAIT).toBe(2 + REQUESTS);
});

test('a peer that is answered while it is not read goes on when it takes the answer', async () => {
  const peers = await new TwoPeers().start();
  peers.stop();
  peers.answer();
  await peers.send(requests);
  peers.goOn();
  for (let count = 0; count < 100; count++) await turn();
  expect(peers.streams).toHaveLength(2);
  peers.peer.resume();
  await expect.poll(() => peers.streams.length, WAIT).toBe(2 + REQUESTS);
});

test('what a peer sent before it half-closed its socket is read, though it was not read then', async () => {
  const peers = await new TwoPeers().start();
  peers.stop();
  await peers.send(WHOLE_DATA);
  peers.peer.end();
  await once(peers.peer, 'finish');
  for (let count = 0; count < 100; count++) await turn();
  expect(peers.bytesRead).toBe(0);
  peers.goOn();
  await expect.poll(() => peers.bytesRead, WAIT).toBe(DATA_BYTES);
  await expect.poll(() => peers.turns.connectionCount, WAIT).toBe(1);
});

test('a peer that is gone while it is not read is forgotten', async () => {
  const peers = await new TwoPeers().start();
  peers.stop();
  await peers.send(WHOLE_DATA);
  peers.peer.resetAndDestroy();
  await once(peers.peer, 'close');
  for (let count = 0; count < 100; count++) await turn();
  expect(peers.turns.connectionCount).toBe(2);
  peers.goOn();
  await expect.poll(() => peers.turns.connectionCount, WAIT).toBe(1);
});
