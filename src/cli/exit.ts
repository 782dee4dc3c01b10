/** The exit statuses of every command, which EXIT_HELP explains. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

export const EXIT_HELP = `
Exit status: 0 done, 1 the operation failed, 2 wrong usage,
128 + N ended by signal N.`;

/** The command line or an environment variable is wrong, and nothing was done. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The operation failed for a reason of the command's own, not of the service or of a file. */
export class OperationError extends Error {
  override readonly name = 'OperationError';
  /** The reason for programs, in the form of the service's reasons. */
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}
