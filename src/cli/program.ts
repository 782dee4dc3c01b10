import { readFileSync } from 'node:fs';
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
import { watchCommand } from './commands/watch.js';
import { EXIT_HELP } from './exit.js';

export function buildProgram(): Command {
  const program = new Command('shadowkeep')
    .description('Holds shadow weights (EMA, plain average), so that trainers need not')
    .version(readVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'shadowkeep: ')) })
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
  ];
  for (const command of commands) program.addCommand(inheritSettings(command, program));
  return program;
}

/** Commands that are made by themselves, and those below them, know nothing of the program that they are put into. */
function inheritSettings(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inheritSettings(child, command);
  return command;
}

/** `src` and `dist` lie beside package.json alike. */
function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
