import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { lockByPidFile, lockDataDir } from '../../src/storage/data-dir-lock.js';
import { namesIn, storageFailure, subdirectory, temporaryDirectory } from './fixtures.js';

describe('a data directory', () => {
  test('is held by one at a time, under any of its names', async () => {
    const directory = await temporaryDirectory();
    const dataDir = await subdirectory(directory, 'data');
    await symlink(dataDir, join(directory, 'alias'));
    const lock = await lockDataDir(dataDir);
    for (const name of [dataDir, `${dataDir}/`, join(directory, 'alias'), join(dataDir, '..', 'data')]) {
      const error = await storageFailure(lockDataDir(name), 'LOCKED');
      expect(error.message).toBe(`the data directory ${realpathSync(dataDir)} is in use by another process`);
    }
    await lock.release();
    await (await lockDataDir(dataDir)).release();
  });

  test('is made when it is not there, and another one is free', async () => {
    const directory = await temporaryDirectory();
    const locks = await Promise.all(['a/b', 'c'].map((name) => lockDataDir(join(directory, name))));
    expect(await namesIn(directory)).toEqual(['a', 'c']);
    for (const lock of locks) await lock.release();
  });

  test('of twenty who try at once one gets it', async () => {
    const dataDir = await temporaryDirectory();
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => lockDataDir(dataDir)));
    const held = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(held).toHaveLength(1);
    await held[0]!.release();
  });

  test.skipIf(process.platform !== 'linux')('is free again after a kill -9 of its holder', async () => {
    const dataDir = await temporaryDirectory();
    const holder = await holdInChild(dataDir);
    await storageFailure(lockDataDir(dataDir), 'LOCKED');
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await (await lockDataDir(dataDir)).release();
  });
});

describe('a file with the process id, where sockets have no abstract names', () => {
  test('is held by one at a time', async () => {
    const dataDir = await temporaryDirectory();
    const lock = await lockByPidFile(dataDir);
    await storageFailure(lockByPidFile(dataDir), 'LOCKED');
    expect(await readFile(join(dataDir, '.shadowkeep.pid'), 'utf8')).toBe(String(process.pid));
    await lock.release();
    expect(await namesIn(dataDir)).toEqual([]);
  });

  test.each(['999999999', '', 'nonsense'])('of a holder that is gone (%j) is replaced', async (content) => {
    const dataDir = await temporaryDirectory();
    await writeFile(join(dataDir, '.shadowkeep.pid'), content);
    await (await lockByPidFile(dataDir)).release();
  });
});

/** Another process with the name that belongs to `dataDir`, as the format page says. */
async function holdInChild(dataDir: string): Promise<ChildProcess> {
  const name = createHash('sha256').update(realpathSync(dataDir)).digest('hex');
  const program = `require('net').createServer().listen('\\0shadowkeep:${name}', () => console.log('held'))`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}
