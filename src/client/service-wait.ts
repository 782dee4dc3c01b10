import { ShadowkeepError } from '../common/index.js';
import { Backoff } from './backoff.js';
import { ClientError, type Failure, isDisconnect, isUnknownHost, wasNotSent } from './errors.js';

export interface BeginOptions {
  /** How long to wait for the service, milliseconds; by default the client's own `serviceWaitMs`. */
  deadlineMs?: number | undefined;
  /** Whether a request that may have arrived can be sent again. Default true. */
  repeatable?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** Makes calls that begin something, and waits for a service that is not up yet or away for a moment. */
export class ServiceWait {
  readonly #deadlineMs: number;
  #isReached = false;

  /** `deadlineMs`: how long a call waits for the service, milliseconds; 0 does not wait. */
  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
  }

  /** Makes the call, again and again until the service has answered or the time is up. */
  async begin<Answer>(call: () => Promise<Answer>, options: BeginOptions = {}): Promise<Answer> {
    const { deadlineMs = this.#deadlineMs, repeatable = true, signal } = options;
    const backoff = new Backoff({ deadlineMs });
    for (;;) {
      try {
        const answer = await call();
        this.#isReached = true;
        return answer;
      } catch (error) {
        if (signal?.aborted || !this.#canHelp(error, repeatable)) throw error;
        await backoff.wait(error, signal);
      }
    }
  }

  #canHelp(error: unknown, repeatable: boolean): error is Failure {
    if (!(error instanceof ShadowkeepError || error instanceof ClientError) || !isDisconnect(error)) return false;
    // A host name that cannot be resolved is taken for a mistake, unless the service has answered before.
    if (!this.#isReached && isUnknownHost(error)) return false;
    return repeatable || wasNotSent(error);
  }
}
