import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { SocketTurns, TURN_COST_MAX } from '../../../src/server/transport/socket-turns.js';

const CONNECTIONS = 300;
/** Connections that were opened before the others and send nothing. */
const IDLE_CONNECTIONS = 1_000;
/** Turns in which the idle connections are read again, 16 of them, then 32, then 64, up to 512. */
const EMPTY_TURNS_MAX = 6;
/** HTTP/2's initial window: what a peer may send before the server answers. */
const WINDOW_BYTES = 65_535;
/** Most cost of one read from a socket, with the pieces that it is cut into. */
const READ_COST_MAX = 2 * WINDOW_BYTES;

/** A program that opens connections with a stream each, fills their windows when it is told, and then writes a file. */
const CLIENTS = `
  import { connect } from 'node:http2';
  import { writeFileSync } from 'node:fs';
  const [port, count, done, idle] = process.argv.slice(2);
  const calls = await Promise.all(Array.from({ length: Number(count) + Number(idle) }, () => new Promise((resolve) => {
    const session = connect('http://127.0.0.1:' + port);
    const call = session.request({ ':method': 'POST' }, { endStream: false });
    call.on('response', () => resolve({ session, call }));
    call.on('error', () => undefined);
    session.on('error', () => undefined);
  })));
  process.send('open');
  process.on('message', async (what) => {
    if (what === 'half') for (const { session } of calls.slice(0, calls.length / 2)) session.destroy();
    if (what !== 'fill') return;
    for (const { call } of calls.slice(Number(idle))) call.end(Buffer.alloc(${WINDOW_BYTES}));
    // The kernel has all data when the buffers of the sockets are empty.
    while (calls.some(({ session }) => session.socket?.writableLength > 0)) await new Promise(setImmediate);
    await new Promise((resolve) => setTimeout(resolve, 100));
    writeFileSync(done, '');
  });
`;

interface Peers {
  readonly server: Http2Server;
  readonly child: ChildProcess;
  readonly done: string;
}

async function startPeers(
  turns: SocketTurns | undefined,
  onData: (bytes: number) => void,
  onEnd: () => void,
  idleConnections = 0,
): Promise<Peers> {
  const folder = await mkdtemp(join(tmpdir(), 'shadowkeep-socket-turns-'));
  const server = createServer();
  server.on('stream', (stream) => {
    stream.respond();
    const session = stream.session as ServerHttp2Session;
    turns?.add(session);
    const { push } = stream;
    stream.push = (data, encoding) => {
      if (data !== null) {
        onData(data.length);
        turns?.arrived(session, data.length);
      }
      return push.call(stream, data, encoding);
    };
    stream.resume();
    stream.on('end', () => {
      stream.end();
      onEnd();
    });
    stream.on('error', () => undefined);
  });
  server.on('sessionError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const [program, done] = [join(folder, 'clients.mjs'), join(folder, 'done')];
  await writeFile(program, CLIENTS);
  const { port } = server.address() as AddressInfo;
  const child = fork(program, [`${port}`, `${CONNECTIONS}`, done, `${idleConnections}`], { execArgv: [] });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  await new Promise((resolve) => child.once('message', resolve));
  return { server, child, done };
}

/** Holds the event loop until the data of all peers waits in the kernel, so that the next turn finds all of it. */
function holdUntil(path: string): void {
  const sleep = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(path)) Atomics.wait(sleep, 0, 0, 10);
}

/** The bytes that are read in each turn of the event loop, until all streams have ended. */
async function readAll(turns: SocketTurns | undefined, idleConnections = 0): Promise<number[]> {
  const read = [0];
  let ended = 0;
  const peers = await startPeers(
    turns,
    (bytes) => {
      read[read.length - 1]! += bytes;
    },
    () => {
      ended += 1;
    },
    idleConnections,
  );
  peers.child.send('fill');
  holdUntil(peers.done);
  while (ended < CONNECTIONS) {
    await new Promise((resolve) => setImmediate(resolve));
    read.push(0);
  }
  return read;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

test('what is read in one turn of the loop has a bound, and everybody is read in turn', async () => {
  const before = await readAll(undefined);
  expect(sum(before)).toBe(CONNECTIONS * WINDOW_BYTES);
  // Without turns, all data that is there is read in one turn.
  expect(Math.max(...before)).toBeGreaterThan(TURN_COST_MAX + READ_COST_MAX);

  const read = await readAll(new SocketTurns());
  expect(sum(read)).toBe(CONNECTIONS * WINDOW_BYTES);
  expect(Math.max(...read)).toBeLessThanOrEqual(TURN_COST_MAX + READ_COST_MAX);
});

test('a thousand connections without data do not keep those with data waiting', async () => {
  const read = await readAll(new SocketTurns(), IDLE_CONNECTIONS);
  expect(sum(read)).toBe(CONNECTIONS * WINDOW_BYTES);
  expect(Math.max(...read)).toBeLessThanOrEqual(TURN_COST_MAX + READ_COST_MAX);
  const [longest] = read
    .map((bytes) => (bytes > 0 ? 'x' : '.'))
    .join('')
    .replace(/\.+$/, '')
    .split('x')
    .map(({ length }) => length)
    .sort((a, b) => b - a);
  expect(longest).toBeLessThanOrEqual(EMPTY_TURNS_MAX);
});

test('a connection that is gone while it is not read is forgotten, and the others go on', async () => {
  const turns = new SocketTurns();
  let ended = 0;
  const peers = await startPeers(
    turns,
    () => undefined,
    () => {
      ended += 1;
    },
  );
  expect(turns.connectionCount).toBe(CONNECTIONS);
  peers.child.send('fill');
  holdUntil(peers.done);
  await new Promise((resolve) => setImmediate(resolve));
  peers.child.send('half');
  await expect.poll(() => ended, { timeout: 60_000 }).toBeGreaterThanOrEqual(CONNECTIONS / 2);
  peers.child.kill('SIGKILL');
  await expect.poll(() => turns.connectionCount, { timeout: 60_000 }).toBe(0);
});
