#!/usr/bin/env node
import { runCli } from './cli/index.js';

/** Whoever read our output has had enough (`shadowkeep watch RUN | head -1`): end as a signal would have ended us. */
const EXIT_BROKEN_PIPE = 128 + 13;

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_BROKEN_PIPE);
  throw error;
});

await runCli(process.argv.slice(2));
