import { type RunningCommand, startCommand } from '../cli/run-command.js';
import { eventually } from './harness.js';

/** A server in a process of its own, which a test may kill. */
export interface ServerProcess {
  readonly port: number;
  readonly command: RunningCommand;
  /** As a crash or the kernel ends it: nothing is saved. */
  kill(): Promise<void>;
  /** SIGTERM; its exit status. */
  stop(): Promise<unknown>;
}

/** Starts the built command; `port` 0 takes a free one. */
export async function startServerProcess(
  dataDir: string,
  port = 0,
  flags: readonly string[] = [],
): Promise<ServerProcess> {
  const listen = ['--listen', `127.0.0.1:${port}`];
  const command = startCommand(['serve', ...listen, '--data-dir', dataDir, '--memory', '128MiB', '--json', ...flags]);
  const { child, printed, outcome } = command;
  const listening = await eventually(() => {
    if (child.exitCode !== null) throw new Error(`the server ended: ${printed.stderr}`);
    return /"listening":"127\.0\.0\.1:(\d+)"/.exec(printed.stdout)?.[1];
  });
  return {
    port: Number(listening),
    command,
    kill: async () => {
      child.kill('SIGKILL');
      await outcome;
    },
    stop: async () => {
      child.kill('SIGTERM');
      return (await outcome).status;
    },
  };
}

/** The lines that it has logged until now. */
export function logLines({ command: { printed } }: ServerProcess): Record<string, unknown>[] {
  const lines = printed.stderr.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}
