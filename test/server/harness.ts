import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { afterEach } from 'vitest';
import type { KernelMode } from '../../src/kernels/index.js';
import type { AddAverageResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/AddAverageResponse.js';
import type { DeleteRunResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/DeleteRunResponse.js';
import type { ListRunsResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/ListRunsResponse.js';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { OpenRunResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/OpenRunResponse.js';
import type { RemoveAverageResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/RemoveAverageResponse.js';
import type { Run__Output } from '../../src/protocol/gen/shadowkeep/v1/Run.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { packageDefinition } from '../../src/protocol/index.js';
import { type RunningServer, startServer } from '../../src/server/index.js';
import type { ServerOptions } from '../../src/server/options/option-table.js';

/** The kernels of this test run. `npm test` runs the suites once with each kind. */
export const KERNELS = (process.env['SHADOWKEEP_KERNELS'] ?? 'simd') as KernelMode;

const stops: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/**
 * Starts a real server on a free port, which is stopped after the test. Its generations are 1, 2 …, so that tests can
 * name them. A server of `serveReal` issues real generations.
 */
export async function serve(options: Partial<ServerOptions> = {}): Promise<RunningServer> {
  let issued = 0;
  return await start(options, () => {
    issued += 1;
    return issued;
  });
}

/** Starts a server as `serve` does, which issues real generations. */
export async function serveReal(options: Partial<ServerOptions> = {}): Promise<RunningServer> {
  return await start(options);
}

async function start(options: Partial<ServerOptions>, nextGeneration?: () => number): Promise<RunningServer> {
  const defaults = {
    listen: '127.0.0.1:0',
    dataDir: 'none',
    logLevel: 'silent',
    kernels: KERNELS,
    memoryBytes: 256 << 20,
    stopGraceMs: 100,
    reconnectGraceMs: 0,
  } as const;
  const server = await startServer({ ...defaults, ...options }, nextGeneration);
  stops.push(() => server.stop());
  return server;
}

/** A bare client, made from the proto, which sends whatever a test wants, valid or not. */
export function rawClient(
  server: { readonly port: number },
  options: Record<string, number> = {},
): ShadowWeightsClient {
  const loaded = loadPackageDefinition(packageDefinition) as unknown as {
    shadowkeep: { v1: { ShadowWeights: new (...args: unknown[]) => ShadowWeightsClient } };
  };
  const client = new loaded.shadowkeep.v1.ShadowWeights(`127.0.0.1:${server.port}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    ...options,
  });
  stops.push(() => client.close());
  return client;
}

/** The usual run of tests: one F32 tensor `w` of four elements, and one EMA with a decay of ½. */
export const SMALL: OpenRunRequest = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [4] }],
  averages: [{ name: 'ema', start: 'FIRST', constant: { decay: 0.5 } }],
};

/** The unary methods as functions that return promises. A request may be anything that can be encoded. */
interface UnaryMethods {
  OpenRun: OpenRunResponse__Output;
  GetRun: Run__Output;
  ListRuns: ListRunsResponse__Output;
  AddAverage: AddAverageResponse__Output;
  RemoveAverage: RemoveAverageResponse__Output;
  DeleteRun: DeleteRunResponse__Output;
}

export async function ask<Method extends keyof UnaryMethods>(
  client: ShadowWeightsClient,
  method: Method,
  request: object = { run: 'r' },
): Promise<UnaryMethods[Method]> {
  type Call = (request: object, done: (error: Error | null, response?: UnaryMethods[Method]) => void) => void;
  return await new Promise((resolve, reject) => {
    const call = (client[method] as unknown as Call).bind(client);
    call(request, (error, response) => (error ? reject(error) : resolve(response as UnaryMethods[Method])));
  });
}

export async function openRun(
  client: ShadowWeightsClient,
  request: OpenRunRequest = SMALL,
): Promise<OpenRunResponse__Output> {
  return await ask(client, 'OpenRun', request);
}

/** Calls `look` again and again until it returns something else than undefined. The test's own timeout bounds this. */
export async function eventually<Found>(look: () => Promise<Found | undefined> | Found | undefined): Promise<Found> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
