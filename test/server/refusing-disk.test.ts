import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { canSetImmutable, setImmutable, setReadOnly } from '../storage/refusing-disk.js';
import { canMount, mountSmallDisk } from '../storage/small-disk.js';
import { expectError } from './expect-error.js';
import { ask, openRun, rawClient, SMALL, serve } from './harness.js';
import { newDataDir } from './lives.js';
import { f32Space, read } from './read.js';
import { Upload } from './upload.js';

const immutable = canSetImmutable();
const mounting = canMount();

/** Lets a server save a run at step 1 in the directory. */
async function withSavedRun(dataDir: string): Promise<void> {
  const server = await serve({ dataDir });
  const client = rawClient(server);
  const { generation } = await openRun(client, { ...SMALL, incarnation: 'a' });
  await new Upload(client)
    .open(generation)
    .push(1, f32Space([1, 2, 3, 4]))
    .ack();
  await server.stop();
}

/** Expects that the run can be pushed to, read and listed. */
async function expectUsable(client: ShadowWeightsClient, upload: Upload, step: number): Promise<void> {
  expect((await upload.push(step, f32Space([8, 8, 8, 8])).ack()).state).toBe('COMMITTED');
  expect((await read(client)).header).toMatchObject({ step });
  expect((await ask(client, 'ListRuns', {})).runs).toMatchObject([{ run: 'r', committed_step: step }]);
}

describe('a disk that refuses a deletion', () => {
  const refusals = ['data directory', 'run'] as const;
  test.skipIf(!immutable.isAble).for(refusals)(
    `leaves the run as it was, in memory and on the disk, the %s being immutable${immutable.note}`,
    async (what) => {
      const dataDir = await newDataDir();
      await withSavedRun(dataDir);
      const refusing = what === 'run' ? join(dataDir, 'r') : dataDir;
      onTestFinished(() => {
        if (existsSync(refusing)) setImmutable(refusing, false);
      });
      const first = await serve({ dataDir });
      const client = rawClient(first);
      const { generation } = await openRun(client, { ...SMALL, incarnation: 'a' });
      const upload = new Upload(client).open(generation);
      await expectUsable(client, upload, 2);
      const memory = (await ask(client, 'GetRun')).memory;
      setImmutable(refusing, true);
      for (let attempt = 0; attempt < 2; attempt++) {
        const metadata = await expectError(
          ask(client, 'DeleteRun'),
          'FAILED_PRECONDITION',
          'DISK_REFUSED',
          /^run "r" was not deleted and goes on as it was: the data directory refuses it \(EPERM\); give it room or/,
        );
        expect(metadata).toEqual({ reason: 'EPERM' });
      }
      expect((await ask(client, 'GetRun')).memory).toEqual(memory);
      await expectUsable(client, upload, 3);
      setImmutable(refusing, false);
      await first.stop();
      const second = await serve({ dataDir });
      expect(second.loaded).toEqual([{ run: 'r', step: 3 }]);
      await ask(rawClient(second), 'DeleteRun');
      await second.stop();
      expect((await serve({ dataDir })).loaded).toEqual([]);
      expect(await readdir(dataDir)).toEqual([]);
    },
  );

  test.skipIf(!mounting.isAble)(
    `that is read-only: a saved run stays, one that was never saved goes, no new life begins${mounting.note}`,
    async () => {
      const disk = mountSmallDisk()!;
      onTestFinished(() => disk.unmount());
      const dataDir = join(disk.path, 'data');
      await withSavedRun(dataDir);
      const server = await serve({ dataDir });
      const client = rawClient(server);
      const { generation } = await openRun(client, { ...SMALL, incarnation: 'a' });
      const upload = new Upload(client).open(generation);
      await openRun(client, { ...SMALL, run: 'unsaved', incarnation: 'a' });
      setReadOnly(disk.path, true);
      await expectError(ask(client, 'DeleteRun'), 'FAILED_PRECONDITION', 'DISK_REFUSED', /refuses it \(EROFS\)/);
      await ask(client, 'DeleteRun', { run: 'unsaved' });
      // A newer life that a crash would forget must not begin, and the old life is not fenced.
      await expectError(
        openRun(client, { ...SMALL, incarnation: 'b' }),
        'FAILED_PRECONDITION',
        'DISK_REFUSED',
        /^a new generation of run "r" could not be written, so it was not opened: the data directory refuses it \(EROFS\)/,
      );
      await expectUsable(client, upload, 2);
      setReadOnly(disk.path, false);
      const young = await openRun(client, { ...SMALL, incarnation: 'b' });
      expect(young.generation).toBeGreaterThan(generation);
      await expectError(upload.failure(), 'ABORTED', 'GENERATION_FENCED', /has begun/);
      await server.stop();
    },
  );

  test.skipIf(!immutable.isAble)(
    `only a file of it: the run is gone, its name is free, and the rest goes with a later start${immutable.note}`,
    async () => {
      const dataDir = await newDataDir();
      await withSavedRun(dataDir);
      const [step] = (await readdir(join(dataDir, 'r'))).filter((name) => name.startsWith('step-'));
      setImmutable(join(dataDir, 'r', step!), true);
      const first = await serve({ dataDir });
      const client = rawClient(first);
      await ask(client, 'DeleteRun');
      await expectError(ask(client, 'GetRun'), 'NOT_FOUND', 'RUN_NOT_FOUND', /does not exist/);
      expect(await openRun(client)).toMatchObject({ created: true });
      const [rest] = (await readdir(dataDir)).filter((name) => name.startsWith('.deleted-'));
      await ask(client, 'DeleteRun');
      await first.stop();
      const second = await serve({ dataDir });
      expect(second.loaded).toEqual([]);
      await second.stop();
      setImmutable(join(dataDir, rest!, step!), false);
      await serve({ dataDir });
      expect(await readdir(dataDir)).toEqual([]);
    },
  );

  test('a name that no directory can take, and one that somebody has removed, are no obstacles', async () => {
    const dataDir = await newDataDir();
    await withSavedRun(dataDir);
    const client = rawClient(await serve({ dataDir }));
    await rm(join(dataDir, 'r'), { recursive: true });
    await mkdir(join(dataDir, '.deleted-left'));
    await ask(client, 'DeleteRun');
    expect(await readdir(dataDir)).toEqual([]);
  });
});
