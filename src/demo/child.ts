import { once } from 'node:events';
import type { Setup } from './setup.js';

/** The last message of a child that could not go on. */
export interface Failed {
  readonly kind: 'failed';
  readonly message: string;
}

/** The child's end of the channel to the process that started it. */
export interface Parent<Message> {
  /**
   * Sends a message over Node's IPC channel. The weights of the demo travel by gRPC only; what is sent here lets the
   * parent check them.
   */
  tell(message: Message): void;
  /** Resolves when the parent says to go on. */
  go(): Promise<void>;
}

/**
 * Runs a child process of the demo. The first argument of the process is its setup as JSON, and its exit code says
 * whether it succeeded. The child stops when its parent is gone. It ignores Ctrl-C, which a terminal sends to both,
 * because the parent stops it then.
 */
export async function runChild<Message>(main: (setup: Setup, parent: Parent<Message>) => Promise<void>): Promise<void> {
  process.on('SIGINT', () => {});
  process.once('disconnect', () => process.exit(1));
  const toldToGo = once(process, 'message');
  const setup = JSON.parse(process.argv[2] ?? '') as Setup;
  // Messages leave in order, so when the last one has left all have.
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
