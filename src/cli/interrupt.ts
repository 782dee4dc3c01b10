import { constants } from 'node:os';

type InterruptSignal = 'SIGINT' | 'SIGTERM';

/** The operation was ended by a signal, after it had cleaned up. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
  readonly exitStatus: number;

  constructor(signal: InterruptSignal) {
    super(`interrupted by ${signal}`);
    this.exitStatus = 128 + constants.signals[signal];
  }
}

/**
 * Runs an operation that SIGINT and SIGTERM end through an AbortSignal, so that it leaves nothing half done. A second
 * signal ends the process at once.
 */
export async function interruptible<Result>(action: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const onSignal = (signal: InterruptSignal) => {
    const error = new InterruptedError(signal);
    if (controller.signal.aborted) process.exit(error.exitStatus);
    controller.abort(error);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    return await action(controller.signal);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
