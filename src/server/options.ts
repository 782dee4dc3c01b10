import { totalmem } from 'node:os';
import { LOG_LEVELS, type LogLevel, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';

/** Everything that a server can be told; `compileServerOptions` makes it complete and refuses what is out of bounds. */
export interface ServerOptions {
  /** HOST:PORT; port 0 takes any free one. IPv6 hosts stand in brackets. */
  readonly listen: string;
  /** Where runs are kept over restarts, or `none`: memory only. */
  readonly dataDir: string;
  /** Budget of all runs: shadows, staging and what readers hold, bytes. */
  readonly memoryBytes: number;
  /** Budget of what is on its way in or out: windows, messages, answers. The ledger holds it beside the runs' budget. */
  readonly transportBytes: number;
  readonly maxConnections: number;
  readonly kernels: KernelMode;
  readonly logLevel: LogLevel;
  /** A step whose bytes stop arriving for this long is dropped and its stream ended. */
  readonly stepTimeoutMs: number;
  /** What a writer has sent of a step is kept for so long after its stream broke. */
  readonly reconnectGraceMs: number;
  /** A reader that takes nothing for this long is ended. */
  readonly readStallTimeoutMs: number;
  /** How long a broken read can be resumed. */
  readonly readLeaseMs: number;
  /** How long a graceful stop waits for streams to finish. */
  readonly stopGraceMs: number;
  /** The largest HTTP/2 receive window of a stream; many streams get smaller ones. 0: the stock 64 KiB. */
  readonly windowBytes: number;
}

const KIB = 1 << 10;
const MIB = 1 << 20;

/** The least budget: a small run with its step in flight. */
export const MEMORY_BYTES_MIN = 64 * MIB;

/** Share of the machine (or of the container's limit) that the ledger may use; the rest is for others and for the kernel. */
const MEMORY_SHARE = 0.8;

/** What the process itself takes beside the ledger: Node 100 MB, its heap, and what the garbage collector has not found yet. */
const PROCESS_BYTES = 256 * MIB;

/** The least transport: two of the largest messages, and windows and answers for as much again. */
export const TRANSPORT_BYTES_MIN = 32 * MIB;

/** Its share of the runs' budget, and what more than it does not make faster: a thousand streams of 64 KiB each. */
const TRANSPORT_SHARE = 1 / 12;
const TRANSPORT_BYTES_DEFAULT_MAX = 256 * MIB;

/** Twice the writers of the largest training; a connection costs some 50 KB. */
const MAX_CONNECTIONS_DEFAULT = 2_048;
export const MAX_CONNECTIONS_MAX = 65_536;

/** Node keeps timers in 32 bits. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** A window this large holds 2 GiB of unread bytes per connection: the protocol's own bound. */
const WINDOW_BYTES_MAX = 2 ** 31 - 1;

/** Fills 10 Gbit/s at 6 ms of distance, bounds the unread bytes of a connection. */
const WINDOW_BYTES_DEFAULT = 8 * MIB;

/** The runs' budget unless told otherwise: a share of the container's limit, where there is one, less the transport's. */
export function defaultMemoryBytes(): number {
  const limit = memoryLimitBytes();
  const ledgerBytes = Math.min(limit * MEMORY_SHARE, limit - PROCESS_BYTES);
  const transportBytes = defaultTransportBytes(ledgerBytes / (1 + TRANSPORT_SHARE));
  return Math.max(MEMORY_BYTES_MIN, Math.floor(ledgerBytes - transportBytes));
}

/** The transport's budget unless told otherwise. */
export function defaultTransportBytes(memoryBytes: number): number {
  const share = Math.floor(memoryBytes * TRANSPORT_SHARE);
  return Math.min(TRANSPORT_BYTES_DEFAULT_MAX, Math.max(TRANSPORT_BYTES_MIN, share));
}

/** What the kernel lets this process have: the container's limit, or the machine. */
export function memoryLimitBytes(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

export function compileServerOptions(options: Partial<ServerOptions> = {}): ServerOptions {
  const memoryBytes = options.memoryBytes ?? defaultMemoryBytes();
  const compiled: ServerOptions = {
    listen: options.listen ?? '127.0.0.1:50051',
    dataDir: options.dataDir ?? 'shadowkeep-data',
    memoryBytes,
    transportBytes: options.transportBytes ?? defaultTransportBytes(memoryBytes),
    maxConnections: options.maxConnections ?? MAX_CONNECTIONS_DEFAULT,
    kernels: options.kernels ?? 'simd',
    logLevel: options.logLevel ?? 'info',
    stepTimeoutMs: options.stepTimeoutMs ?? 300_000,
    reconnectGraceMs: options.reconnectGraceMs ?? 30_000,
    readStallTimeoutMs: options.readStallTimeoutMs ?? 60_000,
    readLeaseMs: options.readLeaseMs ?? 10_000,
    stopGraceMs: options.stopGraceMs ?? 5_000,
    windowBytes: options.windowBytes ?? WINDOW_BYTES_DEFAULT,
  };
  parseListen(compiled.listen);
  if (compiled.dataDir === '') throw refused('dataDir', 'must be a directory or none', '""');
  oneOf('kernels', compiled.kernels, ['simd', 'scalar']);
  oneOf('logLevel', compiled.logLevel, LOG_LEVELS);
  inRange('memoryBytes', compiled.memoryBytes, MEMORY_BYTES_MIN, totalmem());
  inRange('transportBytes', compiled.transportBytes, TRANSPORT_BYTES_MIN, totalmem());
  inRange('maxConnections', compiled.maxConnections, 1, MAX_CONNECTIONS_MAX);
  inRange('stepTimeoutMs', compiled.stepTimeoutMs, 1, TIMEOUT_MS_MAX);
  inRange('reconnectGraceMs', compiled.reconnectGraceMs, 0, TIMEOUT_MS_MAX);
  inRange('readStallTimeoutMs', compiled.readStallTimeoutMs, 1, TIMEOUT_MS_MAX);
  inRange('readLeaseMs', compiled.readLeaseMs, 0, TIMEOUT_MS_MAX);
  inRange('stopGraceMs', compiled.stopGraceMs, 0, TIMEOUT_MS_MAX);
  if (compiled.windowBytes !== 0) inRange('windowBytes', compiled.windowBytes, 64 * KIB, WINDOW_BYTES_MAX);
  return compiled;
}

/** Splits HOST:PORT. */
export function parseListen(listen: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):(\d{1,5})$/.exec(listen);
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port > 65_535)
    throw refused('listen', 'must be HOST:PORT with a port from 0 to 65535', listen);
  return { host: match[1], port };
}

function inRange(option: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw refused(option, `must be an integer from ${min} to ${max}`, value);
  }
}

function oneOf(option: string, value: string, values: readonly string[]): void {
  if (!values.includes(value)) throw refused(option, `must be one of ${values.join(', ')}`, value);
}

function refused(option: string, bound: string, value: unknown): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', `${option} ${bound}, got ${value}`, { metadata: { field: option } });
}
