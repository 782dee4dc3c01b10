import { createInterface } from 'node:readline';

/**
 * For each JSON line on standard input, runs `commands[line.command](rest of the line)` and answers with a JSON line.
 */
export async function serve(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, ...options } = JSON.parse(line);
    const answer = await commands[command](options);
    process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
  }
  process.exit();
}

/** Seconds of the monotonic clock, which all processes of a machine share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1e9;
}
