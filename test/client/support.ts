import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { afterEach, expect } from 'vitest';
import { type ClientError, connect, type ShadowkeepClient, type ShadowkeepError } from '../../src/client/index.js';
import { shadowWeightsDefinition } from '../../src/protocol/index.js';
import { type RunningServer, startServer } from '../../src/server/index.js';
import type { ServerOptions } from '../../src/server/options/option-table.js';

const closers: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Starts a real service and a client of it. Both are closed after the test. */
export async function startService(
  options: Partial<ServerOptions> = {},
): Promise<{ server: RunningServer; client: ShadowkeepClient; target: string }> {
  const server = await startServer({
    listen: '127.0.0.1:0',
    dataDir: 'none',
    logLevel: 'silent',
    memoryBytes: 256 << 20,
    stopGraceMs: 200,
    ...options,
  });
  closers.push(() => server.stop());
  const target = `${server.host}:${server.port}`;
  return { server, client: connectTo(target), target };
}

export function connectTo(target: string, options?: Parameters<typeof connect>[1]): ShadowkeepClient {
  const client = connect(target, options);
  closers.push(() => client.close());
  return client;
}

/** Starts a peer that speaks gRPC but does what the test says, and a client of it. */
export async function startPeer(
  handlers: UntypedServiceImplementation,
  definition: ServiceDefinition = shadowWeightsDefinition,
): Promise<{ client: ShadowkeepClient; target: string }> {
  const server = new Server();
  server.addService(definition, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  closers.push(() => server.forceShutdown());
  const target = `127.0.0.1:${port}`;
  return { client: connectTo(target), target };
}

/** Returns the failure of a promise, which must fail. */
export async function failureOf(failing: Promise<unknown>): Promise<ShadowkeepError | ClientError> {
  return await failing.then(
    (value) => expect.fail(`expected a failure, got ${JSON.stringify(value)}`),
    (error) => error,
  );
}

export function f32(...values: number[]): Float32Array {
  return Float32Array.from(values);
}

/** The numbers in a tensor's bytes. */
export function asF32(data: Uint8Array | undefined): number[] {
  expect(data).toBeDefined();
  return [...new Float32Array(data!.buffer, data!.byteOffset, data!.byteLength / 4)];
}

/** Polls until the expectation holds. Its long timeout finds a hang and does not measure speed. */
export function eventually<Value>(look: () => Value) {
  return expect.poll(look, { timeout: 30_000, interval: 10 });
}
