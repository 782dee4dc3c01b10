import { execFile } from 'node:child_process';
import { cp } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileProgram, removeProgram } from '../compile.js';
import { namesIn, subdirectory, temporaryDirectory } from '../fixtures.js';
import { EXTRA_BYTES, type Outcome, SEED } from './faulty-writer.js';
import { readSample, runDirectoryOf, writeSample } from './sample.js';
import type { SystemCall } from './system-calls.js';

const run = promisify(execFile);
let compiled: { directory: string; program: string };

beforeAll(async () => {
  compiled = await compileProgram(join(import.meta.dirname, 'faulty-writer.ts'));
});
afterAll(() => removeProgram(compiled.directory));

/** Runs the faulty writer; the lines it printed, and the signal that ended it. */
async function faultyWriter<T>(...parameters: (string | number)[]): Promise<{ lines: T[]; signal: string | null }> {
  const program = [compiled.program, ...parameters.map(String)];
  const result = await run(process.execPath, program, { maxBuffer: 1 << 26 }).catch(
    (error: Error & { signal: string | null; stdout: string }) => {
      if (error.signal === null) throw error;
      return error;
    },
  );
  const lines = result.stdout.split('\n').filter((line) => line !== '');
  return { lines: lines.map((line) => JSON.parse(line) as T), signal: 'signal' in result ? result.signal : null };
}

/** A data directory with the checkpoints 1 and 2, so that the third one also removes one. */
async function twoCheckpoints(): Promise<string> {
  const dataDir = await subdirectory(await temporaryDirectory(), 'data');
  for (const seed of [1, 2]) await writeSample(dataDir, seed, EXTRA_BYTES);
  return dataDir;
}

/** After recovery the next checkpoint works, and nothing of the accident is left. */
async function expectRecovery(dataDir: string) {
  await writeSample(dataDir, 4, EXTRA_BYTES);
  expect(await readSample(dataDir, EXTRA_BYTES)).toBe(4);
  const names = await namesIn(runDirectoryOf(dataDir));
  expect(names.filter((name) => !name.startsWith('step-'))).toEqual([]);
  expect(names.length).toBe(2);
}

test('killed before each system call, the run is whole: the old checkpoint, then the new one', async () => {
  const dataDir = await twoCheckpoints();
  const { lines: calls } = await faultyWriter<SystemCall>('trace', await copyOf(dataDir, 'trace'));
  const newest: (number | undefined)[] = [];
  const killAt = async (index: number) => {
    const copy = await copyOf(dataDir, `kill-${index}`);
    expect((await faultyWriter('kill', copy, index + 1)).signal).toBe('SIGKILL');
    newest[index] = await readSample(copy, EXTRA_BYTES);
    await expectRecovery(copy);
  };
  // Two at a time: starting a process is most of the work.
  for (let index = 0; index < calls.length; index += 2) {
    await Promise.all([index, index + 1].filter((at) => at < calls.length).map(killAt));
  }
  const publish = calls.findIndex(isPublish);
  expect(publish).toBeGreaterThan(20);
  expect(newest).toEqual(calls.map((_, index) => (index <= publish ? 2 : SEED)));
  console.log(`killed at each of ${calls.length} system calls`);
}, 300_000);

describe.each(['EIO', 'ENOSPC'])('when one system call after the other fails with %s', (errno) => {
  test('the error says so, and the run is whole', async () => {
    const dataDir = await twoCheckpoints();
    const copies = await subdirectory(dirname(dataDir), 'copies');
    const { lines: outcomes } = await faultyWriter<Outcome>('fail', dataDir, copies, errno);
    const publish = outcomes.findIndex(({ call }) => isPublish(call));
    expect(publish).toBeGreaterThan(20);
    for (const [index, outcome] of outcomes.entries()) {
      const copy = join(copies, String(index + 1));
      expectHonest(outcome, errno);
      expect(await readSample(copy, EXTRA_BYTES)).toBe(outcome.error && index <= publish ? 2 : SEED);
      const leftovers = (await namesIn(runDirectoryOf(copy))).filter((name) => name.startsWith('tmp-'));
      // A failed sync stops the process while it removes the oldest; the next process goes on with that.
      const isInterrupted = outcome.cleanupError !== undefined || (outcome.error?.isFatal && index > publish);
      if (!isInterrupted) expect(leftovers, JSON.stringify(outcome)).toEqual([]);
    }
    console.log(`failed at each of ${outcomes.length} system calls`);
  }, 300_000);
});

/** A failed sync is fatal, everything else an error with its code or, once the checkpoint is safe, a note. */
function expectHonest({ call, error, cleanupError }: Outcome, errno: string): void {
  const told = error ?? cleanupError;
  expect(told, JSON.stringify(call)).toBeDefined();
  if (error === undefined) return;
  const isFatal = call.name === 'sync';
  expect(error.isFatal, JSON.stringify(call)).toBe(isFatal);
  if (!isFatal) expect(errno === 'ENOSPC' ? ['NO_SPACE'] : ['IO', 'DAMAGED']).toContain(error.code);
}

test('nothing gets its name before it is on the disk, and nothing goes before the new one is', async () => {
  const dataDir = await twoCheckpoints();
  const { lines: calls } = await faultyWriter<SystemCall>('trace', dataDir);
  const publish = calls.findIndex(isPublish);
  const lastOf = (name: string, path: string, end = publish) =>
    calls.slice(0, end).findLastIndex((call) => call.name === name && call.path === path);

  const building = calls[publish]!.fromPath!;
  const files = calls.filter((call) => call.name === 'rename' && dirname(call.path) === building);
  expect(files.map((call) => basename(call.path))).toEqual([
    'average.ema.safetensors',
    'copied.safetensors',
    'nothing.safetensors',
    'manifest.json',
  ]);
  for (const file of files) {
    const [written, synced] = [lastOf('write', file.fromPath!), calls.findIndex(isSyncOf(file))];
    const named = calls.indexOf(file);
    expect(written).toBeGreaterThanOrEqual(0);
    expect(synced).toBeGreaterThan(written);
    expect(named).toBeGreaterThan(synced);
    // It was read back under its own name before the checkpoint got its own.
    expect(lastOf('read', file.path)).toBeGreaterThan(named);
    expect(lastOf('sync', building)).toBeGreaterThan(named);
  }
  const durable = calls.findIndex((call, index) => index > publish && call.name === 'sync');
  expect(calls[durable]!.path).toBe(dirname(building));
  const removals = calls.flatMap((call, index) => (isRemovalOfCheckpoint(call) ? [index] : []));
  expect(removals).toHaveLength(1);
  expect(removals[0]).toBeGreaterThan(durable);
});

function isSyncOf(file: SystemCall) {
  return (call: SystemCall) => call.name === 'sync' && call.path === file.fromPath;
}

/** The checkpoint gets its name. */
function isPublish(call: SystemCall): boolean {
  return call.name === 'rename' && isCheckpoint(call.path);
}

function isCheckpoint(path: string): boolean {
  return basename(path).startsWith('step-');
}

function isRemovalOfCheckpoint(call: SystemCall): boolean {
  return (call.name === 'rm' && isCheckpoint(call.path)) || isCheckpoint(call.fromPath ?? '');
}

async function copyOf(dataDir: string, name: string): Promise<string> {
  const copy = join(dirname(dataDir), name);
  await cp(dataDir, copy, { recursive: true });
  return copy;
}
