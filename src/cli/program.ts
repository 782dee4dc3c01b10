import { Command } from 'commander';
import { averageCommand } from './commands/average.js';
import { deleteCommand } from './commands/delete.js';
import { demoCommand } from './commands/demo.js';
import { describeCommand } from './commands/describe.js';
import { healthCommand } from './commands/health.js';
import { presetsCommand } from './commands/presets.js';
import { pullCommand } from './commands/pull.js';
import { pushCommand } from './commands/push.js';
import { runsCommand } from './commands/runs.js';
import { serveCommand } from './commands/serve.js';
import { readVersion, versionCommand } from './commands/version.js';
import { watchCommand } from './commands/watch.js';
import { EXIT_HELP } from './exit.js';
import { printError } from './text/output.js';
import { withSuggestion } from './text/suggest.js';

/** Builds the command line. With `json` Commander prints no errors, because the caller prints failures as JSON. */
export function buildProgram(json = false): Command {
  const program = new Command('shadowkeep')
    .description('Holds shadow weights (EMA, plain average), so that trainers need not')
    .version(readVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .configureOutput(json ? { writeErr: () => {} } : { outputError })
    .showHelpAfterError('(--help tells more)')
    .addHelpText('afterAll', EXIT_HELP)
    .exitOverride();
  const commands = [
    serveCommand(),
    demoCommand(),
    runsCommand(),
    describeCommand(),
    watchCommand(),
    pullCommand(),
    pushCommand(),
    presetsCommand(),
    averageCommand(),
    deleteCommand(),
    healthCommand(),
    versionCommand(),
  ];
  for (const command of commands) program.addCommand(inheritSettings(command, program));
  return program;
}

/** Copies the program's settings to a command and those below it, which Commander does not do for finished commands. */
function inheritSettings(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inheritSettings(child, command);
  return command;
}

/** Prints Commander's errors through `printError`, which escapes what was typed. */
function outputError(text: string): void {
  printError(withSuggestion(text).replace(/^error: /, 'shadowkeep: '));
}
