import { type RunningCommand, startCommand } from '../cli/run-command.js';
import { eventually } from './harness.js';

/** A server in a process of its own, which a test may kill. */
export interface ServerProcess {
  readonly port: number;
  readonly command: RunningCommand;
  /** Kills the process, as a crash or the kernel would. Nothing is saved. */
  kill(): Promise<void>;
  /** Stops the process with SIGTERM, and returns its exit status. */
  stop(): Promise<unknown>;
}

/** Starts the built command. Port 0 takes a free port. */
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

/** The lines that the server has logged until now. */
export function logLines({ command: { printed } }: ServerProcess): Record<string, unknown>[] {
  const lines = printed.stderr.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}
