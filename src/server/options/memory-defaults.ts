import { totalmem } from 'node:os';

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
