import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Failed } from './child.js';
import type { Setup } from './setup.js';

export type Role = 'trainer' | 'evaluator';

/** A child that says nothing for this long hangs. A step takes a few milliseconds. */
const SILENCE_MS_MAX = 30_000;
/** Time from SIGTERM to SIGKILL. */
const KILL_AFTER_MS = 2_000;

/** A child process of the demo. */
export interface Child {
  readonly pid: number;
  /** Resolves when the child has ended with exit code 0. Rejects when it failed, hung, or ended otherwise. */
  readonly ended: Promise<void>;
  /** Tells a child that waits to go on. */
  go(): void;
  /** Ends the child, whatever it does. Resolves when it is gone. */
  stop(): Promise<void>;
}

/** Starts src/demo/<role>.ts in a process of its own. */
export function startChild<Message extends { kind: string }>(
  role: Role,
  setup: Setup,
  onMessage: (message: Message) => void,
): Child {
  const path = fileURLToPath(new URL(`./${role}.js`, import.meta.url));
  const child = fork(path, [JSON.stringify(setup)], {
    serialization: 'advanced',
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return {
    pid: child.pid ?? 0,
    ended: ended(role, child, onMessage),
    // An error of sending is ignored: the child is gone then, and `ended` reports it.
    go: () => void child.send('go', () => {}),
    stop: () => stop(child),
  };
}

function ended<Message extends { kind: string }>(
  role: Role,
  child: ChildProcess,
  onMessage: (message: Message) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (problem: string): void => reject(new Error(`the ${role} ${problem}`));
    const silence = setTimeout(() => fail(`said nothing for ${SILENCE_MS_MAX / 1_000} s`), SILENCE_MS_MAX);
    child.on('message', (message) => {
      silence.refresh();
      const told = message as Message | Failed;
      if (told.kind === 'failed') fail(`failed: ${(told as Failed).message}`);
      else onMessage(told as Message);
    });
    // The last messages may come after 'exit', but not after 'disconnect', so both are waited for.
    Promise.all([once(child, 'exit'), once(child, 'disconnect')])
      .then(
        ([[code, signal]]) => {
          if (code === 0) resolve();
          else fail(signal === null ? `ended with code ${code}` : `was ended by ${signal}`);
        },
        (error: Error) => fail(`could not be started: ${error.message}`),
      )
      .finally(() => clearTimeout(silence));
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  child.kill('SIGTERM');
  await gone;
  clearTimeout(kill);
}
