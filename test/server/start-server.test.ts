import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { startServer } from '../../src/server/index.js';
import { BareCall, stalledReader, updateFrame } from './bare-http2.js';
import { expectError } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { f32Space, read } from './read.js';
import { Upload } from './upload.js';

describe('a start', () => {
  test('takes a free port and says which', async () => {
    const { host, port, loaded } = await serve();
    expect({ host, loaded }).toEqual({ host: '127.0.0.1', loaded: [] });
    expect(port).toBeGreaterThan(0);
  });

  test('on IPv6', async () => {
    const server = await serve({ listen: '[::1]:0' });
    expect(server.host).toBe('[::1]');
  });

  test('on a port in use says so, and the one who has it goes on', async () => {
    const first = await serve();
    await expect(serve({ listen: `127.0.0.1:${first.port}` })).rejects.toThrow(
      new RegExp(`^cannot listen on 127.0.0.1:${first.port}: the port is in use$`),
    );
    expect((await ask(rawClient(first), 'ListRuns', {})).runs).toEqual([]);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    await expect(serve({ listen: `127.0.0.1:${port}` })).rejects.toThrow(/the port is in use$/);
    other.close();
  });

  test('on an address that is not this machine says why not', async () => {
    await expect(serve({ listen: '192.0.2.1:0' })).rejects.toThrow(/^cannot listen on 192\.0\.2\.1:0: /);
  });

  test('with a bad option starts nothing', async () => {
    await expect(startServer({ memoryBytes: 1 })).rejects.toThrow(/^memoryBytes must be an integer from/);
  });
});

describe('a stop', () => {
  const stopping = ['UNAVAILABLE', 'SHUTTING_DOWN', /^the server is shutting down$/] as const;

  test('ends every stream with SHUTTING_DOWN, and may be asked for twice', async () => {
    const server = await serve();
    const client = rawClient(server);
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(1, f32Space([1, 2, 3, 4]));
    await upload.ack();
    upload.chunk(2, 0, Buffer.alloc(32));
    const watch = client.watchRun({ run: 'r' });
    await new Promise((resolve) => watch.once('data', resolve));
    const waiting = read(client, { min_step: 5, wait_ms: 60_000 });
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    const told = [
      expectError(upload.failure(), ...stopping),
      expectError(new Promise((_, reject) => watch.on('error', reject)), ...stopping),
      expectError(waiting, ...stopping),
    ];
    await Promise.all([server.stop(), server.stop(), ...told]);
  });

  test('does not wait longer than its grace for those who do not listen', async () => {
    const server = await serve({ stopGraceMs: 50, readStallTimeoutMs: 600_000 });
    const client = rawClient(server);
    const { generation } = await openRun(client, { ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [1_000] }] });
    const upload = new Upload(client).open(generation).push(1, f32Space(new Array(1_000).fill(1)));
    await upload.ack();
    await upload.end();
    const reader = stalledReader(server.port, { run: 'r', chunk_bytes: 16 });
    const writer = new BareCall(server.port, 'Update').send(
      updateFrame({ open: { run: 'r', generation } }).subarray(0, 7),
    );
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 1 ? true : undefined));
    await server.stop();
    await Promise.all([reader.closed(), writer.closed()]);
  });
});
