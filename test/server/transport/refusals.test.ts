import { expect, test } from 'vitest';
import { createLogger } from '../../../src/common/index.js';
import { decodeErrorDetails, shadowWeightsDefinition } from '../../../src/protocol/index.js';
import { MemoryWatchdog } from '../../../src/server/transport/memory-watchdog.js';
import { Transport } from '../../../src/server/transport/transport.js';
import { BareCall, frame } from '../bare-http2.js';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, serve } from '../harness.js';
import { f32Space } from '../read.js';
import { Upload } from '../upload.js';

test('a connection too many is told so, and there is room again when one closes', async () => {
  const server = await serve({ maxConnections: 2 });
  // grpc-js shares a connection between clients with the same options, so each client gets an option of its own.
  const [first, second, third] = [1, 2, 3].map((index) => rawClient(server, { 'grpc.client_id': index }));
  await openRun(first!);
  await ask(second!, 'GetRun');
  await expectError(
    ask(third!, 'GetRun'),
    'RESOURCE_EXHAUSTED',
    'TOO_MANY_CONNECTIONS',
    /^the server has 2 connections, its most \(--max-connections\)$/,
  );
  second!.close();
  await eventually(() => ask(third!, 'GetRun').catch(() => undefined));
});

test.each([
  ['gzip in the headers', { 'grpc-encoding': 'gzip' }, false],
  ['deflate in the headers', { 'grpc-encoding': 'deflate' }, false],
  ['an unknown one in the headers', { 'grpc-encoding': 'zstd' }, false],
  ['the flag of a message', {}, true],
])('compression is refused before anything is inflated: %s', async (_, headers, isCompressed) => {
  const server = await serve();
  await openRun(rawClient(server));
  const call = new BareCall(server.port, 'GetRun', { headers });
  call.stream.resume();
  call.send(frame(shadowWeightsDefinition.GetRun.requestSerialize({ run: 'r' }), isCompressed)).stream.end();
  expect(await call.closed()).toMatchObject({ status: 12 });
  expect(String(call.headers['grpc-message'])).toMatch(/grpc-encoding|compressed/);
  call.kill();
});

test('compression of a client is an error with a reason, and answers offer none', async () => {
  const server = await serve();
  const client = rawClient(server, { 'grpc.default_compression_algorithm': 2 });
  await expectError(
    openRun(client),
    'UNIMPLEMENTED',
    'COMPRESSION_UNSUPPORTED',
    /^grpc-encoding must be identity, got gzip: weights do not compress$/,
  );
  await openRun(rawClient(server));
  const call = new BareCall(server.port, 'GetRun');
  call.stream.resume();
  call.send(frame(shadowWeightsDefinition.GetRun.requestSerialize({ run: 'r' }))).stream.end();
  expect(await call.closed()).toMatchObject({ status: 0 });
  expect(call.headers['grpc-accept-encoding']).toBe('identity');
  call.kill();
});

test('a question is not megabytes long', async () => {
  const server = await serve();
  await expectError(
    ask(rawClient(server), 'GetRun', { run: 'x'.repeat(1 << 20) }),
    'INVALID_ARGUMENT',
    'INVALID_FIELD',
    /^a message of this method has at most 65536 bytes, got \d+$/,
  );
});

test('a run is trained while one stream keeps the room and others wait for it', async () => {
  const server = await serve();
  const client = rawClient(server);
  const { generation } = await openRun(client);
  const upload = new Upload(client).open(generation);
  const half = Buffer.alloc(5 + (8 << 20) - 1);
  half.writeUInt32BE(8 << 20, 1);
  // Each attacker has a connection of its own. Together they ask for four times the room.
  const attackers = Array.from({ length: 8 }, () => new BareCall(server.port, 'Update').send(half));
  for (let step = 1; step <= 20; step++) {
    expect(await upload.push(step, f32Space([1, 2, 3, 4])).ack()).toMatchObject({ step, state: 'COMMITTED' });
  }
  const reasonOf = ({ headers }: BareCall) => {
    const details = headers['grpc-status-details-bin'];
    return typeof details === 'string' ? decodeErrorDetails(Buffer.from(details, 'base64'))?.reason : undefined;
  };
  await eventually(() => (attackers.some((call) => reasonOf(call) === 'TRANSPORT_EXHAUSTED') ? true : undefined));
  for (const call of attackers) call.kill();
  await upload.end();
});

test('near its limit the process is collected, then the newest streams end, and new ones are refused', async () => {
  const collected: string[] = [];
  const shed: number[] = [];
  const lines: string[] = [];
  const log = { ...createLogger('silent'), warn: (_: object, text: string) => lines.push(text), info: () => undefined };
  const transport = new Transport({ transportBytes: 32 << 20, windowBytes: 0, maxConnections: 1 }, log as never);
  transport.shedNewest = (count) => shed.push(count);
  let rssBytes = 100;
  const look = () => ({ rssBytes, rssBytesMax: 200, heapBytes: 1, heapBytesMax: 2 });
  const watchdog = new MemoryWatchdog(transport, log as never, look, () => collected.push('all'));
  watchdog.stop();
  watchdog.check();
  expect([collected.length, shed.length]).toEqual([0, 0]);
  rssBytes = 300;
  watchdog.check();
  watchdog.check();
  // The watchdog does not collect at each look, because that takes long, and it logs only once.
  expect([collected.length, shed.length, lines.length]).toEqual([1, 2, 1]);
  rssBytes = 100;
  watchdog.check();
  watchdog.check();
  expect(shed).toHaveLength(2);
});
