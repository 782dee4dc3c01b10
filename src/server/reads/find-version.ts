import { quote, ShadowkeepError } from '../../common/index.js';
import type { Reader, Run, RunTable, Version } from '../../engine/index.js';
import type { VersionWish } from '../messages/index.js';

/** How long a request waits for its run and its version together, counted from when this is made. */
export class Wait {
  readonly waitMs: number;
  readonly #deadlineMs: number;

  constructor(waitMs: number) {
    this.waitMs = waitMs;
    this.#deadlineMs = performance.now() + waitMs;
  }

  get leftMs(): number {
    return this.#deadlineMs - performance.now();
  }
}

/**
 * The run named `name`. A request that waits gets it once a trainer has opened it. Throws RUN_NOT_FOUND, RUN_DAMAGED.
 */
export async function findRun(table: RunTable, name: string, wait: Wait, signal: AbortSignal): Promise<Run> {
  if (wait.waitMs > 0 && !table.isKnown(name)) {
    await firstOf((listener) => table.whenOpened(name, listener), wait.leftMs, signal);
    signal.throwIfAborted();
  }
  return table.get(name);
}

/**
 * Waits for a version that fits the wish and is readable, and pins it. Throws what `isReadable` throws, and why the
 * version cannot come or has not come in time.
 */
export async function findVersion(
  run: Run,
  wish: VersionWish,
  wait: Wait,
  signal: AbortSignal,
  isReadable: (version: Version) => boolean,
): Promise<Reader> {
  for (;;) {
    // One synchronous action: no fold may begin before the version is pinned, and no commit may pass unnoticed before
    // the subscription.
    const { reader, news } = await run.whenSettled(() => {
      signal.throwIfAborted();
      if (run.isDeleted) throw run.deletedError();
      const found = run.versions.find((version) => isReadable(version) && fits(version, wish));
      if (found !== undefined) return { reader: run.pin(found) };
      checkCanCome(run, wish);
      const { leftMs } = wait;
      if (leftMs <= 0) throw notThere(run, wish, wait.waitMs);
      // The run calls its subscribers at the next commit and when it is deleted.
      return { news: firstOf((listener) => run.subscribe(listener), leftMs, signal) };
    });
    if (reader !== undefined) return reader;
    await news;
  }
}

function fits(version: Version, wish: VersionWish): boolean {
  switch (wish.kind) {
    case 'latest':
      return true;
    case 'step':
      return version.step === wish.step;
    case 'min_step':
      return version.step !== undefined && version.step >= wish.step;
    case 'resume':
      return version.id === wish.version;
  }
}

/** Throws VERSION_NOT_FOUND when waiting is in vain, because the version has passed and is not held any more. */
function checkCanCome(run: Run, wish: VersionWish): void {
  const name = quote(run.spec.name);
  if (wish.kind === 'resume') {
    throw new ShadowkeepError('VERSION_NOT_FOUND', `version ${wish.version} of run ${name} is no longer held`);
  }
  if (wish.kind === 'step' && run.committedStep !== undefined && run.committedStep > wish.step) {
    throw new ShadowkeepError(
      'VERSION_NOT_FOUND',
      `step ${wish.step} of run ${name} is no longer held, the newest is ${run.committedStep}`,
      { metadata: { step: wish.step, committedStep: run.committedStep } },
    );
  }
}

function notThere(run: Run, wish: VersionWish, waitMs: number): ShadowkeepError {
  const name = quote(run.spec.name);
  // When the run has commits, the latest version is unreadable only because the average was added after all of them.
  const first =
    run.committedStep === undefined ? 'a first commit' : 'the first update of an average that was just added';
  const wanted = wish.kind === 'step' || wish.kind === 'min_step' ? `step ${wish.step}` : first;
  const newest = run.committedStep === undefined ? 'nothing is committed' : `the newest is ${run.committedStep}`;
  if (waitMs > 0)
    return new ShadowkeepError('WAIT_TIMEOUT', `run ${name}: waited ${waitMs} ms for ${wanted}, ${newest}`);
  if (run.committedStep === undefined)
    return new ShadowkeepError('NOTHING_COMMITTED', `run ${name}: nothing is committed yet`);
  if (wish.kind === 'latest')
    return new ShadowkeepError('NOTHING_COMMITTED', `run ${name}: the average has had no update since it was added`);
  return new ShadowkeepError('VERSION_NOT_FOUND', `run ${name}: ${wanted} has not come yet, ${newest}`);
}

/** Resolves when `subscribe` calls back, after `timeoutMs`, or when the reader is gone. */
async function firstOf(
  subscribe: (listener: () => void) => () => void,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      unsubscribe();
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const unsubscribe = subscribe(finish);
    const timer = setTimeout(finish, timeoutMs);
    signal.addEventListener('abort', finish);
  });
}
