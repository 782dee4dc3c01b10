import { totalmem } from 'node:os';

const MIB = 1 << 20;

/** The least budget of the runs: enough for a small run with its step in flight. */
export const MEMORY_BYTES_MIN = 64 * MIB;

/**
 * Share of the machine's or container's memory that the ledger may use. The rest is for other programs and the kernel.
 */
const MEMORY_SHARE = 0.8;

/** What the process takes beside the ledger: Node's 100 MB, its heap, and garbage that is not collected yet. */
const PROCESS_BYTES = 256 * MIB;

/** The least budget of the transport: two of the largest messages, and as much again for windows and answers. */
export const TRANSPORT_BYTES_MIN = 32 * MIB;

/**
 * The transport's budget is this share of the runs' budget, up to a bound beyond which it does not get faster: the
 * bound gives each of a thousand streams a window of 64 KiB.
 */
const TRANSPORT_SHARE = 1 / 12;
const TRANSPORT_BYTES_DEFAULT_MAX = 256 * MIB;

/** The default budget of the runs: a share of the memory that the process may have, less the transport's budget. */
export function defaultMemoryBytes(): number {
  const limit = memoryLimitBytes();
  const ledgerBytes = Math.min(limit * MEMORY_SHARE, limit - PROCESS_BYTES);
  const transportBytes = defaultTransportBytes(ledgerBytes / (1 + TRANSPORT_SHARE));
  return Math.max(MEMORY_BYTES_MIN, Math.floor(ledgerBytes - transportBytes));
}

/** The default budget of the transport beside `memoryBytes` for the runs. */
export function defaultTransportBytes(memoryBytes: number): number {
  const share = Math.floor(memoryBytes * TRANSPORT_SHARE);
  return Math.min(TRANSPORT_BYTES_DEFAULT_MAX, Math.max(TRANSPORT_BYTES_MIN, share));
}

/** The memory that the kernel lets this process have: the container's limit, or the machine's memory. */
export function memoryLimitBytes(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
