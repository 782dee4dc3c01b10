import { once } from 'node:events';
import type { Failed } from './messages.js';
import type { Setup } from './setup.js';

/** The child's end of the channel to the process that started it. */
export interface Parent<Message> {
  tell(message: Message): void;
  /** Resolves when the parent says to go on. */
  go(): Promise<void>;
}

/**
 * Runs a child process of the demo: its setup is the first argument, its last word the exit code. It stops when its
 * parent is gone, and leaves Ctrl-C, which a terminal sends to both, to the parent.
 */
export async function runChild<Message>(main: (setup: Setup, parent: Parent<Message>) => Promise<void>): Promise<void> {
  process.on('SIGINT', () => {});
  process.once('disconnect', () => process.exit(1));
  const toldToGo = once(process, 'message');
  const setup = JSON.parse(process.argv[2] ?? '') as Setup;
  // Messages leave in order: when the last one is out, all are.
  let told: Promise<unknown> = Promise.resolve();
  const tell = (message: Message | Failed): void => {
    told = new Promise((resolve) => process.send?.(message, resolve));
  };
  try {
    await main(setup, { tell, go: async () => void (await toldToGo) });
  } catch (error) {
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
    process.exitCode = 1;
  }
  await told;
  process.removeAllListeners('disconnect');
  process.disconnect();
}
