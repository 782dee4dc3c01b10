#!/usr/bin/env node
import { runCli } from './cli/index.js';

/** Whoever read our output has had enough (`shadowkeep watch RUN | head -1`): end as a signal would have ended us. */
const EXIT_BROKEN_PIPE = 128 + 13;
const EXIT_FAILURE = 1;

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_BROKEN_PIPE);
  process.stderr.write(`shadowkeep: cannot write to standard output: ${error.message}\n`);
  process.exit(EXIT_FAILURE);
});

await runCli(process.argv.slice(2));
