import { Command, Option } from 'commander';
import { ShadowkeepError } from '../../common/index.js';
import { OPTION_ROWS, type OptionRow, type RunningServer, startServer } from '../../server/index.js';
import { EXIT, UsageError } from '../exit.js';
import { flag } from '../flags/flags.js';
import { byteSize, duration, integer, oneOf } from '../flags/values.js';
import { formatBytes } from '../text/format.js';
import { print, printJson } from '../text/output.js';

/** The values of the flags, by the names that Commander gives to them, such as `stepTimeout`. */
type ServeOptions = Readonly<Record<string, unknown>> & { readonly json?: boolean };

const EXPLANATION = `
Prints one line when it is ready, and logs to standard error as JSON lines.
SIGTERM and SIGINT stop it gracefully: steps that have arrived are folded and
the runs are written to the data directory; a second signal ends it at once.`;

export function serveCommand(): Command {
  const command = new Command('serve').description('run the service');
  for (const [, row] of OPTION_ROWS) command.addOption(optionOf(row));
  return command
    .addOption(flag('--json', 'print {"listening":"HOST:PORT"} when it is ready'))
    .addHelpText('after', EXPLANATION)
    .action(serve);
}

function optionOf(row: OptionRow): Option {
  const option = flag(`${row.flag} <${row.placeholder}>`, helpOf(row));
  if (row.isHidden === true) option.hideHelp();
  switch (row.kind) {
    case 'TEXT':
      return option.default(row.default);
    case 'WORD':
      return option.argParser(oneOf(row.flag, row.words));
    case 'COUNT':
      return option.argParser(integer(row.flag, row.min, row.max));
    case 'BYTES':
      return option.argParser(byteSize(row.flag, row.isZeroTaken === true ? 0 : row.min, row.max));
    case 'TIME':
      return option.argParser(duration(row.flag, row.max));
  }
}

function helpOf(row: OptionRow): string {
  if (row.kind === 'WORD') return `${row.help}; default ${row.default}`;
  if (row.kind === 'TEXT' || row.isHidden === true) return row.help;
  if (typeof row.default === 'number') {
    return `${row.help}; default ${row.kind === 'TIME' ? durationText(row.default) : row.default}`;
  }
  return row.showsDefault === true ? `${row.help}: ${formatBytes(row.default(undefined))}` : row.help;
}

/** A time in the form in which a flag takes it. */
function durationText(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000}m` : `${ms / 1_000}s`;
}

async function serve(options: ServeOptions): Promise<void> {
  const server = await start(options);
  // The signals are listened for before the line is printed, because its reader may stop the server at once.
  const stopped = stopSignal();
  announce(server, options);
  await stopped;
  await server.stop();
}

async function start(options: ServeOptions): Promise<RunningServer> {
  const told = OPTION_ROWS.flatMap(([name, { flag: long }]) => {
    const value = options[new Option(long).attributeName()];
    return value === undefined ? [] : [[name, value] as const];
  });
  try {
    return await startServer(Object.fromEntries(told));
  } catch (error) {
    throw asUsage(error);
  }
}

/** Turns the server's error for an option into a usage error that names the flag. */
function asUsage(error: unknown): unknown {
  if (!(error instanceof ShadowkeepError) || error.reason !== 'INVALID_FIELD') return error;
  const field = error.metadata['field'] ?? '';
  const [, row] = OPTION_ROWS.find(([name]) => name === field) ?? [];
  if (row === undefined || !error.message.startsWith(field)) return error;
  return new UsageError(
    `${row.flag}${error.message.slice(field.length)}${row.kind === 'TIME' ? ' (milliseconds)' : ''}`,
  );
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

/** Resolves at the first SIGTERM or SIGINT. The second one ends the process at once. */
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
