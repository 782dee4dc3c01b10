import { escapeUnprintable } from '../../common/index.js';

/**
 * Standard output belongs to what was asked for. Each argument is one line, whatever it holds: nothing that a service, a
 * file or a command line has put into it starts another line or reaches the terminal as a command.
 */
export function print(...lines: readonly string[]): void {
  process.stdout.write(asLines(lines));
}

/** One object on one line. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Everything else goes to standard error. */
export function printError(...lines: readonly string[]): void {
  process.stderr.write(asLines(lines));
}

function asLines(lines: readonly string[]): string {
  return lines.map((line) => `${escapeUnprintable(line)}\n`).join('');
}

/** Columns of the terminal behind standard output; without bound where a program reads, or the terminal does not say. */
export function outputWidth(): number {
  return (process.stdout.isTTY && process.stdout.columns) || Number.POSITIVE_INFINITY;
}
