import { type Command, Option } from 'commander';
import { quote } from '../../common/index.js';
import { UsageError } from '../exit.js';
import { target } from './values.js';

/** Prefix of the variable of every flag: `--min-step` is SHADOWKEEP_MIN_STEP. */
const VARIABLE_PREFIX = 'SHADOWKEEP_';

const FALSE_WORDS = ['', '0', 'false', 'no'];
const TRUE_WORDS = ['1', 'true', 'yes'];

/** An option with its environment variable, which the help names. */
export function flag(flags: string, description: string): Option {
  const option = new Option(flags, description);
  const variable = VARIABLE_PREFIX + option.long!.slice(2).toUpperCase().replaceAll('-', '_');
  return option.env(variable);
}

/**
 * Commander takes a switch as given when its variable is set, whatever it is set to. Words for no unset it here, before
 * the command line is read, and other words are refused.
 */
export function applySwitchVariables(command: Command, environment: NodeJS.ProcessEnv): void {
  for (const { envVar, long, required, optional } of command.options) {
    const word = envVar === undefined ? undefined : environment[envVar]?.toLowerCase();
    if (envVar === undefined || word === undefined || required || optional) continue;
    if (FALSE_WORDS.includes(word)) delete environment[envVar];
    else if (!TRUE_WORDS.includes(word)) {
      throw new UsageError(`${envVar} (for ${long}) must be one of 1, true, yes, 0, false, no, got ${quote(word)}`);
    }
  }
  for (const child of command.commands) applySwitchVariables(child, environment);
}

/** Whether failures are for programs; asked before the command line is read, which may be the failure. */
export function isJsonAsked(args: readonly string[], environment: NodeJS.ProcessEnv): boolean {
  const word = environment[`${VARIABLE_PREFIX}JSON`]?.toLowerCase() ?? '';
  return args.includes('--json') || TRUE_WORDS.includes(word);
}

export interface CommonOptions {
  target: string;
  json?: boolean;
}

/** Where the service is, and how to print: what every command but `serve` and `demo` takes. */
export function addCommonFlags(command: Command, jsonDescription: string): Command {
  return command
    .addOption(
      flag('--target <HOST:PORT>', 'where the service listens')
        .argParser(target('--target'))
        .default('127.0.0.1:50051'),
    )
    .addOption(flag('--json', jsonDescription));
}
