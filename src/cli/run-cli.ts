import { CommanderError } from 'commander';
import { ClientError } from '../client/index.js';
import { ShadowkeepError } from '../common/index.js';
import { StorageError } from '../storage/index.js';
import { EXIT, UsageError } from './exit.js';
import { applySwitchVariables } from './flags.js';
import { InterruptedError } from './interrupt.js';
import { buildProgram } from './program.js';

/** Runs one command line. Prints failures as one line, and sets the exit status that the help promises. */
export async function runCli(args: readonly string[]): Promise<void> {
  try {
    const program = buildProgram();
    applySwitchVariables(program, process.env);
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    const status = exitStatusOf(error);
    // Commander has printed its own complaint, or the help.
    if (!(error instanceof CommanderError)) process.stderr.write(`shadowkeep: ${describeFailure(error)}\n`);
    process.exitCode = status;
  }
}

function exitStatusOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof UsageError) return EXIT.usage;
  if (error instanceof InterruptedError) return error.exitStatus;
  return EXIT.failure;
}

/** `message (REASON)`: never a stack, which helps nobody who did not write this. */
function describeFailure(error: unknown): string {
  if (error instanceof ShadowkeepError) return `${error.message} (${error.reason})`;
  if (error instanceof ClientError) return `${error.message} (${error.reason ?? error.code})`;
  if (error instanceof StorageError) return `${error.message} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}
