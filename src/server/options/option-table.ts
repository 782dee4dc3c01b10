import { totalmem } from 'node:os';
import { LOG_LEVELS, type LogLevel } from '../../common/index.js';
import type { KernelMode } from '../../kernels/index.js';
import { defaultMemoryBytes, defaultTransportBytes, MEMORY_BYTES_MIN, TRANSPORT_BYTES_MIN } from './memory-defaults.js';

/*
 * The table of all options of a server. The checks of `compileServerOptions` and the flags of `shadowkeep serve`, with their
 * environment variables, help and defaults, are made from it.
 */

interface Row {
  readonly flag: `--${string}`;
  /** The word that stands for the value in the help. */
  readonly placeholder: string;
  readonly help: string;
  /** The help does not list the option. */
  readonly isHidden?: true;
}

interface NumberRow extends Row {
  /** The unit of the value. TIME is in milliseconds. */
  readonly kind: 'BYTES' | 'COUNT' | 'TIME';
  readonly min: number;
  readonly max: number;
  /**
   * The default, or a function that computes it from the budget of the runs. The text of `help` explains such a
   * function.
   */
  readonly default: number | ((memoryBytes: number | undefined) => number);
  /** The help also shows what the function returns on this machine. */
  readonly showsDefault?: true;
  /** 0 is allowed although it is less than `min`. */
  readonly isZeroTaken?: true;
}

interface WordRow extends Row {
  readonly kind: 'WORD';
  readonly words: readonly string[];
  readonly default: string;
}

interface TextRow extends Row {
  readonly kind: 'TEXT';
  readonly default: string;
}

export type OptionRow = NumberRow | WordRow | TextRow;

/** Longest time of an option, ms: Node's timers take no more than 31 bits. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** Largest window that HTTP/2 allows, bytes. */
const WINDOW_BYTES_MAX = 2 ** 31 - 1;

export const SERVER_OPTIONS = {
  /** The address as HOST:PORT. An IPv6 host stands in brackets. */
  listen: {
    kind: 'TEXT',
    flag: '--listen',
    placeholder: 'HOST:PORT',
    help: 'address to listen on; port 0 takes a free one',
    default: '127.0.0.1:50051',
  },
  dataDir: {
    kind: 'TEXT',
    flag: '--data-dir',
    placeholder: 'DIR',
    help: 'where runs are kept over restarts, or "none": memory only',
    default: 'shadowkeep-data',
  },
  /** The budget of all runs together: shadows, staging and what readers hold. */
  memoryBytes: {
    kind: 'BYTES',
    flag: '--memory',
    placeholder: 'BYTES',
    help: 'budget for weights and steps in flight, as 4GiB; default 80 % of what there is',
    min: MEMORY_BYTES_MIN,
    max: totalmem(),
    default: () => defaultMemoryBytes(),
    showsDefault: true,
  },
  /**
   * The budget of the transport: windows, messages and answers. The ledger holds it in addition to the runs' budget.
   */
  transportBytes: {
    kind: 'BYTES',
    flag: '--transport-memory',
    placeholder: 'BYTES',
    help: 'budget for what is on its way in or out, beside --memory; default a twelfth of that, 32MiB to 256MiB',
    min: TRANSPORT_BYTES_MIN,
    max: totalmem(),
    default: (memoryBytes) => defaultTransportBytes(memoryBytes ?? defaultMemoryBytes()),
  },
  /** The default is twice the writers of the largest training. A connection costs some 50 KB. */
  maxConnections: {
    kind: 'COUNT',
    flag: '--max-connections',
    placeholder: 'N',
    help: 'connections at a time',
    min: 1,
    max: 65_536,
    default: 2_048,
  },
  kernels: {
    kind: 'WORD',
    flag: '--kernels',
    placeholder: 'KIND',
    help: 'arithmetic: simd, or scalar where WebAssembly SIMD is missing',
    words: ['simd', 'scalar'],
    default: 'simd',
  },
  logLevel: {
    kind: 'WORD',
    flag: '--log-level',
    placeholder: 'LEVEL',
    help: LOG_LEVELS.join(', '),
    words: LOG_LEVELS,
    default: 'info',
  },
  stepTimeoutMs: time('--step-timeout', 'drop a step whose bytes stop arriving for this long', 1, 300_000),
  reconnectGraceMs: time(
    '--reconnect-grace',
    'keep what a writer has sent of a step for this long after its stream broke',
    0,
    30_000,
  ),
  readStallTimeoutMs: time('--read-stall-timeout', 'end a reader that takes nothing for this long', 1, 60_000),
  readLeaseMs: time('--read-lease', 'keep the version of a broken read for this long', 0, 10_000),
  checkpointIntervalMs: time(
    '--checkpoint-every',
    'write runs that have changed to the data directory this often; 0: only at a stop',
    0,
    60_000,
  ),
  stopGraceMs: time('--stop-grace', 'wait this long for streams to finish at a stop', 0, 5_000),
  /**
   * The largest window of a stream; many streams get smaller ones. The default fills 10 Gbit/s at a round trip of 6 ms.
   */
  windowBytes: {
    kind: 'BYTES',
    flag: '--window-bytes',
    placeholder: 'BYTES',
    help: 'HTTP/2 receive windows; 0: the stock 64 KiB',
    isHidden: true,
    min: 64 << 10,
    max: WINDOW_BYTES_MAX,
    default: 8 << 20,
    isZeroTaken: true,
  },
} as const satisfies Readonly<Record<string, OptionRow>>;

function time(flag: `--${string}`, help: string, min: number, defaultMs: number): NumberRow {
  return { kind: 'TIME', flag, placeholder: 'TIME', help, min, max: TIMEOUT_MS_MAX, default: defaultMs };
}

type OptionName = keyof typeof SERVER_OPTIONS;

type ValueOf<Name extends OptionName> = Name extends 'kernels'
  ? KernelMode
  : Name extends 'logLevel'
    ? LogLevel
    : (typeof SERVER_OPTIONS)[Name] extends TextRow
      ? string
      : number;

/** All options of a server, each with a value. */
export type ServerOptions = { readonly [Name in OptionName]: ValueOf<Name> };

/** The rows of SERVER_OPTIONS with their names. */
export const OPTION_ROWS = Object.entries(SERVER_OPTIONS) as readonly (readonly [OptionName, OptionRow])[];
