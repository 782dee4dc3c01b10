import { vi } from 'vitest';
import { runCli } from '../../src/cli/index.js';

/** Runs a command line that ends before it talks to anybody, without the cost of a process. */
export async function runInProcess(
  args: readonly string[],
): Promise<{ status: number | string | undefined; stdout: string; stderr: string }> {
  const printed = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((stream) =>
    vi.spyOn(process[stream], 'write').mockImplementation((text) => {
      printed[stream] += String(text);
      return true;
    }),
  );
  const before = process.exitCode;
  process.exitCode = 0;
  try {
    await runCli(args);
    return { status: process.exitCode, ...printed };
  } finally {
    process.exitCode = before;
    for (const spy of spies) spy.mockRestore();
  }
}
