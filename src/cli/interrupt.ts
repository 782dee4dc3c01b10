import { constants } from 'node:os';

type InterruptSignal = 'SIGINT' | 'SIGTERM';

/** A signal has ended the operation, which has cleaned up. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
  readonly exitStatus: number;

  constructor(signal: InterruptSignal) {
    super(`interrupted by ${signal}`);
    this.exitStatus = 128 + constants.signals[signal];
  }
}

/**
 * Runs an operation with an AbortSignal, which SIGINT and SIGTERM abort, so that the operation can clean up. A second
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
