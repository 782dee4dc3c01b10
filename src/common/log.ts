import { type Logger, pino } from 'pino';
import { escapeUnprintable } from './printable.js';

export type { Logger };

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Structured JSON lines on standard error, which may be a terminal: standard output belongs to what a command prints. */
export function createLogger(level: LogLevel): Logger {
  const standardError = pino.destination({ fd: 2, sync: false });
  const printable = { write: (line: string) => standardError.write(`${escapeUnprintable(line.trimEnd())}\n`) };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, printable);
}
