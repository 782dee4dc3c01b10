import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where a Python with the reference implementation of safetensors may be; the first that has it is taken. */
const CANDIDATES = [process.env['SHADOWKEEP_PYTHON'], '.venv/bin/python', 'python/.venv/bin/python'];

/** A Python that can import `modules`, or undefined. */
export function findPython(...modules: string[]): string | undefined {
  return CANDIDATES.find((python) => {
    if (python === undefined || !existsSync(python)) return false;
    try {
      execFileSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs a script of test/storage/safetensors with JSON lines in and out. */
export function runPython<T>(python: string, script: string, lines: readonly unknown[]): T[] {
  const output = execFileSync(python, [join(import.meta.dirname, 'safetensors', script)], {
    input: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}
