import { CommanderError } from 'commander';
import { tuneGarbageCollector } from '../server/index.js';
import { failureOf, printFailure } from './failure.js';
import { applySwitchVariables, isJsonAsked } from './flags/flags.js';
import { buildProgram } from './program.js';

/** Runs one command line. Prints a failure as one line or one object, and sets the exit status of the process. */
export async function runCli(args: readonly string[]): Promise<void> {
  const json = isJsonAsked(args, process.env);
  // A push or a pull moves as many messages through external memory as a server does, so it needs the same tuning.
  tuneGarbageCollector();
  try {
    const program = buildProgram(json);
    applySwitchVariables(program, process.env);
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    // Commander throws with exit code 0 after it has printed the help or the version.
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const failure = failureOf(error);
    // Without --json Commander has printed its own error or the help already.
    if (json || !(error instanceof CommanderError)) printFailure(failure, json);
    process.exitCode = failure.exitStatus;
  }
}
