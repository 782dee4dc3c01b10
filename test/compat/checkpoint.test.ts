import { cp, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ask, rawClient, serve } from '../server/harness.js';
import { newDataDir } from '../server/lives.js';
import { ROOT } from '../support/source-files.js';
import { answersOf, type Expected, pushFrozen } from './frozen-run.js';
import { makeFixture } from './make-fixture.js';

/*
 * test/compat/N/: a data directory as some version wrote it, and what is in it. None is ever changed: docs/compatibility.md.
 */

const FOLDER = join(ROOT, 'test/compat');

/** Oldest first. */
async function fixtures(): Promise<string[]> {
  const names = (await readdir(FOLDER)).filter((name) => /^\d+$/.test(name));
  return names.sort((a, b) => Number(a) - Number(b));
}

describe.each(await fixtures())('data directory %s', (fixture) => {
  test('opens with the bits that it had, and goes on with them', async () => {
    const dataDir = await newDataDir();
    await cp(join(FOLDER, fixture, 'data'), dataDir, { recursive: true });
    const { runs } = JSON.parse(await readFile(join(FOLDER, fixture, 'expected.json'), 'utf8')) as Expected;
    expect(runs.length).toBeGreaterThan(0);
    const client = rawClient(await serve({ dataDir }));
    expect((await ask(client, 'ListRuns', {})).damaged).toEqual([]);
    for (const { run, generation, answers, again, next, answersAfterNext } of runs) {
      expect(await answersOf(client, run)).toMatchObject(answers);
      expect(await pushFrozen(client, run, generation, again)).toEqual(['ALREADY_COMMITTED']);
      expect(await pushFrozen(client, run, generation, next)).toEqual(['COMMITTED']);
      expect(await answersOf(client, run)).toMatchObject(answersAfterNext);
    }
  });
});

async function filesIn(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path.slice(folder.length + 1), await readFile(path, 'latin1'));
  }
  return files;
}

test('what is written today is, byte by byte, the newest of them', async () => {
  const kept = process.env['SHADOWKEEP_COMPAT_DIR'];
  if (kept !== undefined) await mkdir(kept);
  const made = kept ?? (await newDataDir());
  await makeFixture(made);
  const today = await filesIn(made);
  const then = await filesIn(join(FOLDER, (await fixtures()).at(-1)!));
  expect([...today.keys()].sort()).toEqual([...then.keys()].sort());
  for (const [name, bytes] of today) expect(bytes, name).toBe(then.get(name));
});
