import { CommanderError } from 'commander';
import { ClientError } from '../client/index.js';
import { ShadowkeepError } from '../common/index.js';
import { StorageError } from '../storage/index.js';
import { EXIT, OperationError, UsageError } from './exit.js';
import { InterruptedError } from './interrupt.js';
import { printError } from './text/output.js';
import { withSuggestion } from './text/suggest.js';

/** Why a command failed. `--json` prints it as `{"error":{…}}`, as docs/cli.md documents. */
export interface Failure {
  /** The service's reason, a file's (`EXISTS`), a command's own, gRPC's code when there is no reason, or USAGE. */
  reason: string;
  message: string;
  exitStatus: number;
  /** The values in the message, if the service named them. */
  metadata?: Readonly<Record<string, string>>;
}

/** Prints a failure on standard error: one line for people, or one object. */
export function printFailure(failure: Failure, json: boolean): void {
  if (json) printError(JSON.stringify({ error: failure }));
  // The message alone says enough of wrong usage and of an interrupt, so no reason is added.
  else if (['USAGE', 'INTERRUPTED'].includes(failure.reason)) printError(`shadowkeep: ${failure.message}`);
  else printError(`shadowkeep: ${failure.message} (${failure.reason})`);
}

/** The failure that an error means. It has no stack, which would help no user. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CommanderError) return { reason: 'USAGE', message: usageText(error), exitStatus: EXIT.usage };
  if (error instanceof UsageError) return { reason: 'USAGE', message: error.message, exitStatus: EXIT.usage };
  if (error instanceof InterruptedError) {
    return { reason: 'INTERRUPTED', message: error.message, exitStatus: error.exitStatus };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { ...reasonOf(error), message, exitStatus: EXIT.failure };
}

function reasonOf(error: unknown): Pick<Failure, 'reason' | 'metadata'> {
  if (error instanceof ShadowkeepError) return { reason: error.reason, ...named(error.metadata) };
  if (error instanceof ClientError) return { reason: error.reason ?? error.code, ...named(error.metadata) };
  if (error instanceof StorageError) return { reason: error.code };
  if (error instanceof OperationError) return { reason: error.reason };
  // An error of the system has a code (EADDRINUSE, EACCES). An error without one is a bug.
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return { reason: typeof code === 'string' ? code : 'INTERNAL' };
}

function named(metadata: Readonly<Record<string, string>>): Pick<Failure, 'metadata'> {
  return Object.keys(metadata).length === 0 ? {} : { metadata };
}

/**
 * Commander's message without its prefix. When a command is missing, Commander has printed the help and has no message.
 */
function usageText({ code, message }: CommanderError): string {
  if (code === 'commander.help') return 'a command is missing: --help lists them';
  return withSuggestion(message).replace(/^error: /, '');
}
