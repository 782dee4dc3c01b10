import { createInterface } from 'node:readline';

/** Runs `commands[line.command](rest of the line)` for JSON lines on standard input and answers each with one. */
export async function serve(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, ...options } = JSON.parse(line);
    const answer = await commands[command](options);
    process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
  }
  process.exit();
}

/** Seconds of a clock that all processes of a machine share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1e9;
}
