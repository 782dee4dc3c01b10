import { totalmem } from 'node:os';
import { LOG_LEVELS, type LogLevel, ShadowkeepError } from '../common/index.js';
import type { KernelMode } from '../kernels/index.js';

/** Everything that a server can be told; `compileServerOptions` makes it complete and refuses what is out of bounds. */
export interface ServerOptions {
  /** HOST:PORT; port 0 takes any free one. IPv6 hosts stand in brackets. */
  readonly listen: string;
  /** Where runs are kept over restarts, or `none`: memory only. */
  readonly dataDir: string;
  /** Budget of the ledger: shadows, staging and what readers hold, bytes. */
  readonly memoryBytes: number;
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
  /** HTTP/2 receive windows, per stream and per connection; 0: the stock 64 KiB. */
  readonly windowBytes: number;
}

const KIB = 1 << 10;
const MIB = 1 << 20;

/** The least budget: a small run with its step in flight. */
export const MEMORY_BYTES_MIN = 64 * MIB;

/** Share of the machine (or of the container's limit) that the ledger may use; the rest is for others and for the kernel. */
const MEMORY_SHARE = 0.8;

/** What the process itself takes beside the ledger: Node 90 MB, messages and windows up to as much again (measured: 145 to 176 MB). */
const PROCESS_BYTES = 256 * MIB;

/** Node keeps timers in 32 bits. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** A window this large holds 2 GiB of unread bytes per connection: the protocol's own bound. */
const WINDOW_BYTES_MAX = 2 ** 31 - 1;

/** Fills 10 Gbit/s at 6 ms of distance, bounds the unread bytes of a connection. */
const WINDOW_BYTES_DEFAULT = 8 * MIB;

/** The budget unless told otherwise: a share of the container's limit, where there is one. */
export function defaultMemoryBytes(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  const limit = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return Math.max(MEMORY_BYTES_MIN, Math.floor(Math.min(limit * MEMORY_SHARE, limit - PROCESS_BYTES)));
}

export function compileServerOptions(options: Partial<ServerOptions> = {}): ServerOptions {
  const compiled: ServerOptions = {
    listen: options.listen ?? '127.0.0.1:50051',
    dataDir: options.dataDir ?? 'shadowkeep-data',
    memoryBytes: options.memoryBytes ?? defaultMemoryBytes(),
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
