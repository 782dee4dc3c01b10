import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, expect } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

const children = new Set<ChildProcessWithoutNullStreams>();

afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

export interface Outcome {
  /** The exit status, or the signal that ended the command. */
  status: number | NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunningCommand {
  child: ChildProcessWithoutNullStreams;
  /** What the command has printed until now. */
  readonly printed: { stdout: string; stderr: string };
  outcome: Promise<Outcome>;
}

/** Starts the built command as a user does. Of the variables of Shadowkeep only those given here are set. */
export function startCommand(args: readonly string[], variables: Record<string, string> = {}): RunningCommand {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: npm run build`);
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SHADOWKEEP_'));
  const env = { ...Object.fromEntries(inherited), ...variables };
  return track(spawn(process.execPath, [MAIN, ...args], { env, stdio: 'pipe' }));
}

function track(child: ChildProcessWithoutNullStreams): RunningCommand {
  children.add(child);
  const printed = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed.stderr += text;
  });
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ status: code ?? signal, ...printed }));
  });
  return { child, printed, outcome };
}

/** Runs a command to its end, with nothing on its standard input. */
export async function runCommand(args: readonly string[], variables?: Record<string, string>): Promise<Outcome> {
  const { child, outcome } = startCommand(args, variables);
  child.stdin.end();
  return await outcome;
}

/**
 * Whether this machine can give a command a terminal. Tests that need one are skipped otherwise, as their titles say.
 */
export const TERMINAL = existsSync('/usr/bin/script')
  ? { isAble: true, note: '' }
  : { isAble: false, note: ' (skipped: no script command)' };

/** Starts a command at a terminal of its own, which mixes its standard output and standard error. */
export function startAtTerminal(args: readonly string[]): RunningCommand {
  const command = [process.execPath, MAIN, ...args].join(' ');
  return track(spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], { stdio: 'pipe' }));
}

/** Runs a command that must succeed without a word on standard error, and returns what it printed. */
export async function succeed(args: readonly string[], variables?: Record<string, string>): Promise<string> {
  const { status, stdout, stderr } = await runCommand(args, variables);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

/** The JSON objects that a command printed, one a line. */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
