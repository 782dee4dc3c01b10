import { createServer } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { createLogger, MESSAGE_BYTES_MAX } from '../common/index.js';
import { SERVICE_NAME } from '../protocol/index.js';
import { addReflection } from './calls/reflection.js';
import { type LoadedRun, RunFiles } from './checkpoint/run-files.js';
import { saveAtStop } from './checkpoint/save-at-stop.js';
import { BackgroundSaver } from './checkpoint/save-in-background.js';
import { tuneGarbageCollector } from './loop/tune-gc.js';
import { memoryLimitBytes } from './options/memory-defaults.js';
import type { ServerOptions } from './options/option-table.js';
import { compileServerOptions, parseListen } from './options/options.js';
import { definition, handlers } from './rpc/index.js';
import { Service } from './service.js';
import { generationIssuer } from './trainers/issue-generation.js';
import { Connections } from './transport/connections.js';
import { MemoryWatchdog, processMemory } from './transport/memory-watchdog.js';

export interface RunningServer {
  readonly host: string;
  /** The port that the server listens on, which the system chose if port 0 was asked for. */
  readonly port: number;
  /** Runs that were found in the data directory. */
  readonly loaded: readonly LoadedRun[];
  /** Ends streams, saves each run, closes all connections. Idempotent. */
  stop(): Promise<void>;
}

/** Pings find a dead peer within a minute and a half, which frees what it had staged or pinned. */
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** Most streams on one connection: room for a process with many writers, readers and followers on one channel. */
const CONNECTION_STREAM_COUNT_MAX = 128;

/**
 * Starts a server: checks the options, loads the runs, and listens. Throws ShadowkeepError for a bad option and Error
 * for a port in use. `nextGeneration` issues the generations, which are fencing tokens.
 */
export async function startServer(
  options: Partial<ServerOptions> = {},
  nextGeneration: () => number = generationIssuer(),
): Promise<RunningServer> {
  const compiled = compileServerOptions(options);
  const log = createLogger(compiled.logLevel);
  tuneGarbageCollector();
  const { host, port } = parseListen(compiled.listen);
  await checkPortFree(host, port);
  const files =
    compiled.dataDir === 'none' ? undefined : await RunFiles.open(compiled.dataDir, compiled.memoryBytes, log);
  const service = new Service(compiled, log, files, nextGeneration);
  try {
    const loaded = (await files?.load(service)) ?? [];
    const health = new HealthImplementation({ '': 'SERVING', [SERVICE_NAME]: 'SERVING' });
    const server = buildServer(service, health);
    const connections = new Connections(server);
    const boundPort = await bind(server, host, port);
    const limitBytes = memoryLimitBytes();
    const saver = files && new BackgroundSaver(service, files, compiled.checkpointIntervalMs);
    const watchdog = new MemoryWatchdog(service.transport, log, () => processMemory(limitBytes));
    const { memoryBytes, transportBytes, kernels } = compiled;
    log.info({ host, port: boundPort, memoryBytes, transportBytes, kernels }, 'listening');
    const stopAll = async (): Promise<void> => {
      watchdog.stop();
      await stop(service, saver, connections, health, `${host}:${boundPort}`);
    };
    return { host, port: boundPort, loaded, stop: once(stopAll) };
  } catch (error) {
    await files?.close();
    throw error;
  }
}

function buildServer(service: Service, health: HealthImplementation): Server {
  const server = new Server({
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': CONNECTION_STREAM_COUNT_MAX,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  });
  service.transport.attach(server);
  server.addService(definition, handlers(service));
  health.addToServer(server);
  addReflection(server);
  return server;
}

async function bind(server: Server, host: string, port: number): Promise<number> {
  return await new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, boundPort) => {
      if (error) reject(new Error(`cannot listen on ${host}:${port}: ${error.message}`));
      else resolve(boundPort);
    });
  });
}

/** Throws a clear error for a port in use, before anything is loaded. gRPC's own error lists every address it tried. */
async function checkPortFree(host: string, port: number): Promise<void> {
  if (port === 0) return;
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'the port is in use' : error.message;
      reject(Object.assign(new Error(`cannot listen on ${host}:${port}: ${why}`), { code: error.code }));
    });
    probe.listen({ port, host: host.replace(/^\[|\]$/g, '') }, () => probe.close(() => resolve()));
  });
}

/**
 * Stops a server: ends streams with SHUTTING_DOWN, folds the steps that arrived whole, saves runs, closes connections.
 */
async function stop(
  service: Service,
  saver: BackgroundSaver | undefined,
  connections: Connections,
  health: HealthImplementation,
  target: string,
): Promise<void> {
  const deadlineMs = performance.now() + service.options.stopGraceMs;
  health.setStatus('', 'NOT_SERVING');
  health.setStatus(SERVICE_NAME, 'NOT_SERVING');
  service.beginStop();
  const saverStopped = saver?.stop();
  await service.streamsEnded(service.options.stopGraceMs);
  for (const run of service.table.list()) await run.whenSettled(() => undefined);
  await saverStopped;
  try {
    if (service.files !== undefined) await saveAtStop(service, service.files, target);
  } finally {
    await connections.close(Math.max(0, deadlineMs - performance.now()));
    await service.files?.close();
  }
}

function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= action();
    return done;
  };
}
