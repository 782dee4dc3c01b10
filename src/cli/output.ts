/** Standard output belongs to what was asked for; everything else goes to standard error. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** One object on one line. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}
