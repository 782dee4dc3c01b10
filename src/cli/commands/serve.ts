import { totalmem } from 'node:os';
import { Command } from 'commander';
import { LOG_LEVELS, type LogLevel, ShadowkeepError } from '../../common/index.js';
import {
  defaultMemoryBytes,
  MAX_CONNECTIONS_MAX,
  MEMORY_BYTES_MIN,
  type RunningServer,
  startServer,
  TRANSPORT_BYTES_MIN,
} from '../../server/index.js';
import { EXIT, UsageError } from '../exit.js';
import { flag } from '../flags.js';
import { formatBytes } from '../format.js';
import { print, printJson } from '../output.js';
import { byteSize, duration, integer, oneOf } from '../values.js';

interface ServeOptions {
  listen: string;
  dataDir: string;
  memory?: number;
  transportMemory?: number;
  maxConnections?: number;
  kernels?: 'simd' | 'scalar';
  logLevel?: LogLevel;
  stepTimeout?: number;
  reconnectGrace?: number;
  readStallTimeout?: number;
  readLease?: number;
  stopGrace?: number;
  windowBytes?: number;
  json?: boolean;
}

/** The flag of each server option that the server itself checks. */
const FLAG_OF_FIELD: Readonly<Record<string, string>> = {
  listen: '--listen',
  dataDir: '--data-dir',
  transportBytes: '--transport-memory',
  maxConnections: '--max-connections',
  stepTimeoutMs: '--step-timeout',
  reconnectGraceMs: '--reconnect-grace',
  readStallTimeoutMs: '--read-stall-timeout',
  readLeaseMs: '--read-lease',
  stopGraceMs: '--stop-grace',
  windowBytes: '--window-bytes',
};

const EXPLANATION = `
Prints one line when it is ready, and logs to standard error as JSON lines.
SIGTERM and SIGINT stop it gracefully: steps that have arrived are folded and
the runs are written to the data directory; a second signal ends it at once.`;

export function serveCommand(): Command {
  return new Command('serve')
    .description('run the service')
    .addOption(flag('--listen <HOST:PORT>', 'address to listen on; port 0 takes a free one').default('127.0.0.1:50051'))
    .addOption(
      flag('--data-dir <DIR>', 'where runs are kept over restarts, or "none": memory only').default('shadowkeep-data'),
    )
    .addOption(
      flag(
        '--memory <BYTES>',
        `budget for weights and steps in flight, as 4GiB; default 80 % of what there is: ${formatBytes(defaultMemoryBytes())}`,
      ).argParser(byteSize('--memory', MEMORY_BYTES_MIN, totalmem())),
    )
    .addOption(
      flag(
        '--transport-memory <BYTES>',
        'budget for what is on its way in or out, beside --memory; default a twelfth of that, 32MiB to 256MiB',
      ).argParser(byteSize('--transport-memory', TRANSPORT_BYTES_MIN, totalmem())),
    )
    .addOption(
      flag('--max-connections <N>', 'connections at a time; default 2048').argParser(
        integer('--max-connections', 1, MAX_CONNECTIONS_MAX),
      ),
    )
    .addOption(
      flag('--kernels <KIND>', 'arithmetic: simd, or scalar where WebAssembly SIMD is missing; default simd').argParser(
        oneOf('--kernels', ['simd', 'scalar']),
      ),
    )
    .addOption(
      flag('--log-level <LEVEL>', `${LOG_LEVELS.join(', ')}; default info`).argParser(oneOf('--log-level', LOG_LEVELS)),
    )
    .addOption(
      flag('--step-timeout <TIME>', 'drop a step whose bytes stop arriving for this long; default 5m').argParser(
        duration('--step-timeout'),
      ),
    )
    .addOption(
      flag(
        '--reconnect-grace <TIME>',
        'keep what a writer has sent of a step for this long after its stream broke; default 30s',
      ).argParser(duration('--reconnect-grace')),
    )
    .addOption(
      flag('--read-stall-timeout <TIME>', 'end a reader that takes nothing for this long; default 1m').argParser(
        duration('--read-stall-timeout'),
      ),
    )
    .addOption(
      flag('--read-lease <TIME>', 'keep the version of a broken read for this long; default 10s').argParser(
        duration('--read-lease'),
      ),
    )
    .addOption(
      flag('--stop-grace <TIME>', 'wait this long for streams to finish at a stop; default 5s').argParser(
        duration('--stop-grace'),
      ),
    )
    .addOption(
      flag('--window-bytes <BYTES>', 'HTTP/2 receive windows; 0: the stock 64 KiB')
        .argParser(byteSize('--window-bytes', 0, 2 ** 31 - 1))
        .hideHelp(),
    )
    .addOption(flag('--json', 'print {"listening":"HOST:PORT"} when it is ready'))
    .addHelpText('after', EXPLANATION)
    .action(serve);
}

async function serve(options: ServeOptions): Promise<void> {
  const server = await start(options);
  // Whoever reads that it listens may stop it in the same moment.
  const stopped = stopSignal();
  announce(server, options);
  await stopped;
  await server.stop();
}

async function start(options: ServeOptions): Promise<RunningServer> {
  const {
    memory,
    transportMemory,
    stepTimeout,
    reconnectGrace,
    readStallTimeout,
    readLease,
    stopGrace,
    json: _,
    ...same
  } = options;
  try {
    return await startServer({
      ...same,
      ...(memory === undefined ? {} : { memoryBytes: memory }),
      ...(transportMemory === undefined ? {} : { transportBytes: transportMemory }),
      ...(stepTimeout === undefined ? {} : { stepTimeoutMs: stepTimeout }),
      ...(reconnectGrace === undefined ? {} : { reconnectGraceMs: reconnectGrace }),
      ...(readStallTimeout === undefined ? {} : { readStallTimeoutMs: readStallTimeout }),
      ...(readLease === undefined ? {} : { readLeaseMs: readLease }),
      ...(stopGrace === undefined ? {} : { stopGraceMs: stopGrace }),
    });
  } catch (error) {
    throw asUsage(error);
  }
}

/** A bound that the server checks, under the name of the flag. */
function asUsage(error: unknown): unknown {
  if (!(error instanceof ShadowkeepError) || error.reason !== 'INVALID_FIELD') return error;
  const field = error.metadata['field'] ?? '';
  const name = FLAG_OF_FIELD[field];
  if (name === undefined || !error.message.startsWith(field)) return error;
  return new UsageError(`${name}${error.message.slice(field.length)}${field.endsWith('Ms') ? ' (milliseconds)' : ''}`);
}

function announce({ host, port, loaded }: RunningServer, { json, dataDir }: ServeOptions): void {
  const address = `${host}:${port}`;
  if (json) {
    printJson({ listening: address });
    return;
  }
  for (const { run, step } of loaded) {
    print(`loaded ${run}${step === undefined ? ', nothing committed' : ` at step ${step}`}`);
  }
  if (dataDir !== 'none' && loaded.length === 0) print(`no runs in ${dataDir}`);
  print(`listening on ${address}`);
}

/** Resolves with the first SIGTERM or SIGINT; the second one does not wait for anything. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false;
    const onSignal = () => {
      if (isStopping) process.exit(EXIT.failure);
      isStopping = true;
      resolve();
    };
    process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  });
}
