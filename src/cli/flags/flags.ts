import { type Command, Option } from 'commander';
import { quote } from '../../common/index.js';
import { UsageError } from '../exit.js';
import { target } from './values.js';

/** Prefix of the environment variable of every flag. The variable of `--min-step` is SHADOWKEEP_MIN_STEP. */
const VARIABLE_PREFIX = 'SHADOWKEEP_';

const FALSE_WORDS = ['', '0', 'false', 'no'];
const TRUE_WORDS = ['1', 'true', 'yes'];

/** Makes an option that can also be given as an environment variable, which the help names. */
export function flag(flags: string, description: string): Option {
  const option = new Option(flags, description);
  const variable = VARIABLE_PREFIX + option.long!.slice(2).toUpperCase().replaceAll('-', '_');
  return option.env(variable);
}

/**
 * Gives the variables of switches a meaning. Commander takes a switch as given when its variable is set to any value.
 * So before the command line is read, a variable that says no is unset here, and a word that says neither is refused.
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

/** Whether failures are to be printed as JSON. It does not parse the command line, because parsing itself may fail. */
export function isJsonAsked(args: readonly string[], environment: NodeJS.ProcessEnv): boolean {
  const word = environment[`${VARIABLE_PREFIX}JSON`]?.toLowerCase() ?? '';
  return args.includes('--json') || TRUE_WORDS.includes(word);
}

export interface CommonOptions {
  target: string;
  json?: boolean;
}

/** Adds the flags of every command that talks to a service: where it listens, and whether to print JSON. */
export function addCommonFlags(command: Command, jsonDescription: string): Command {
  return command
    .addOption(
      flag('--target <HOST:PORT>', 'where the service listens')
        .argParser(target('--target'))
        .default('127.0.0.1:50051'),
    )
    .addOption(flag('--json', jsonDescription));
}
