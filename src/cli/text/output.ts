import { escapeUnprintable } from '../../common/index.js';

/**
 * Prints lines to standard output, which is only for what was asked for. Each argument is one line, whatever it holds:
 * nothing in it, from a service, a file or a command line, can start another line or reach the terminal as a command.
 */
export function print(...lines: readonly string[]): void {
  process.stdout.write(asLines(lines));
}

/** Prints one value as JSON on one line. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Prints lines to standard error, which is for everything that was not asked for. */
export function printError(...lines: readonly string[]): void {
  process.stderr.write(asLines(lines));
}

function asLines(lines: readonly string[]): string {
  return lines.map((line) => `${escapeUnprintable(line)}\n`).join('');
}

/** Columns of the terminal behind standard output; infinite when there is no terminal, or it does not say. */
export function outputWidth(): number {
  return (process.stdout.isTTY && process.stdout.columns) || Number.POSITIVE_INFINITY;
}
