import { vi } from 'vitest';
import { runCli } from '../../src/cli/index.js';

/** Runs a command line in this process. Only for commands that end before they talk to a service. */
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
