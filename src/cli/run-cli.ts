import { CommanderError } from 'commander';
import { tuneGarbageCollector } from '../server/index.js';
import { failureOf, printFailure } from './failure.js';
import { applySwitchVariables, isJsonAsked } from './flags/flags.js';
import { buildProgram } from './program.js';

/** Runs one command line. Prints failures as one line or one object, and sets the exit status that the help promises. */
export async function runCli(args: readonly string[]): Promise<void> {
  const json = isJsonAsked(args, process.env);
  // The messages of a push or a pull are external memory, as those of a server are.
  tuneGarbageCollector();
  try {
    const program = buildProgram(json);
    applySwitchVariables(program, process.env);
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    // The help or the version was asked for, and printed.
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const failure = failureOf(error);
    // To people Commander has printed its own complaint, or the help.
    if (json || !(error instanceof CommanderError)) printFailure(failure, json);
    process.exitCode = failure.exitStatus;
  }
}
