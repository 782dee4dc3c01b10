import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Run } from '../../engine/index.js';
import type { RunEvent, WatchRunRequest__Output } from '../../protocol/index.js';
import { callSignal } from '../calls/call-signal.js';
import { writeMessage } from '../calls/write-message.js';
import { averageStateMessages, stepFields, validateWatchRun } from '../messages/index.js';
import type { Service } from '../service.js';

export type WatchRunCall = ServerWritableStream<WatchRunRequest__Output, RunEvent>;

/** Sends the present state, then each commit. A follower that is slow skips commits and gets the newest one. */
export async function watchRun(service: Service, call: WatchRunCall): Promise<void> {
  const { run: name, every } = validateWatchRun(call.request);
  const run = service.table.get(name);
  const { signal, end } = callSignal(call);
  const forget = service.trackStream(end);
  const news = new News(run, signal, every, () => eventOf(service, run));
  try {
    await writeMessage(call, eventOf(service, run));
    for (;;) await writeMessage(call, await news.next());
  } finally {
    forget();
    news.stop();
  }
}

/** Holds the newest commit that the follower asked for and has not been sent. */
class News {
  readonly #run: Run;
  readonly #signal: AbortSignal;
  readonly #unsubscribe: () => void;
  #event: RunEvent | undefined;
  #wake: (() => void) | undefined;

  constructor(run: Run, signal: AbortSignal, every: number, makeEvent: () => RunEvent) {
    this.#run = run;
    this.#signal = signal;
    this.#unsubscribe = run.subscribe(() => {
      if (!run.isDeleted && (run.committedStep ?? 0) % every === 0) this.#event = makeEvent();
      this.#wake?.();
    });
    signal.addEventListener('abort', () => this.#wake?.());
  }

  /** Waits for a commit that was not sent. Throws when the run is deleted or the call has ended. */
  async next(): Promise<RunEvent> {
    for (;;) {
      this.#signal.throwIfAborted();
      if (this.#run.isDeleted) throw this.#run.deletedError();
      const event = this.#event;
      this.#event = undefined;
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  stop(): void {
    this.#unsubscribe();
  }
}

/** The last event of each run, kept because hundreds of followers may be sent the same one. */
const lastEvents = new WeakMap<Run, { readonly key: string; readonly event: RunEvent }>();

function eventOf(service: Service, run: Run): RunEvent {
  const { durableStep } = service.activity(run);
  const key = `${run.head.id} ${run.generation} ${durableStep}`;
  const last = lastEvents.get(run);
  if (last?.key === key) return last.event;
  const event = {
    run: run.spec.name,
    generation: run.generation,
    ...stepFields(run.committedStep, durableStep),
    averages: averageStateMessages(run.head),
  };
  lastEvents.set(run, { key, event });
  return event;
}
