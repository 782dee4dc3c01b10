import { cpSync } from 'node:fs';
import { join } from 'node:path';
import type { WrittenCheckpoint } from '../../../src/storage/checkpoint/write.js';
import { StorageFatalError } from '../../../src/storage/index.js';
import { writeSample } from './sample.js';
import { interceptSystemCalls, type SystemCall } from './system-calls.js';

/*
 * A process that writes the sample checkpoint 3, and has a bad day:
 *
 *   trace DIR          prints its system calls
 *   kill DIR N         dies by SIGKILL before its N-th system call; a write is half done
 *   fail DIR COPIES E  for N = 1, 2 …: its N-th system call fails with the error E, on a copy COPIES/N of DIR;
 *                      prints what came of it
 */

export const SEED = 3;

/** So much that a part takes more than one write. */
export const EXTRA_BYTES = 1_500_000;

export interface Outcome {
  call: SystemCall;
  /** Undefined when the checkpoint was written all the same. */
  error?: { name: string; code: string; isFatal: boolean };
  cleanupError?: string | undefined;
}

const [mode, dataDir = '', parameter = '', errno = ''] = process.argv.slice(2);

if (mode === 'trace') await trace();
else if (mode === 'kill') await kill(Number(parameter));
else if (mode === 'fail') await failEach();

async function trace(): Promise<void> {
  const calls: SystemCall[] = [];
  await interceptSystemCalls((call, _parameters, proceed) => {
    calls.push(call);
    return proceed();
  });
  await writeSample(dataDir, SEED, EXTRA_BYTES);
  for (const call of calls) print(call);
}

async function kill(fatalCall: number): Promise<void> {
  let count = 0;
  await interceptSystemCalls(async (call, parameters, proceed) => {
    count += 1;
    if (count !== fatalCall) return proceed();
    const [bytes, offset, length, position] = parameters;
    if (call.name === 'write') await proceed([bytes, offset, Math.floor(Number(length) / 2), position]);
    process.kill(process.pid, 'SIGKILL');
    return new Promise(() => {});
  });
  await writeSample(dataDir, SEED, EXTRA_BYTES);
}

async function failEach(): Promise<void> {
  let left = Number.POSITIVE_INFINITY;
  let failed: SystemCall | undefined;
  await interceptSystemCalls((call, _parameters, proceed) => {
    left -= 1;
    if (left !== 0) return proceed();
    failed = call;
    throw Object.assign(new Error(`${errno}: injected`), { code: errno });
  });
  for (let number = 1; ; number++) {
    const copy = join(parameter, String(number));
    cpSync(dataDir, copy, { recursive: true });
    [left, failed] = [number, undefined];
    const result = await writeSample(copy, SEED, EXTRA_BYTES).catch((error: Error & { code: string }) => error);
    // Its last call is behind us.
    if (failed === undefined) return;
    print(outcome(failed, result));
  }
}

function outcome(call: SystemCall, result: WrittenCheckpoint | (Error & { code: string })): Outcome {
  if (!(result instanceof Error)) return { call, cleanupError: result.cleanupError?.message };
  return { call, error: { name: result.name, code: result.code, isFatal: result instanceof StorageFatalError } };
}

function print(value: SystemCall | Outcome): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
