import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { succeed } from '../../cli/run-command.js';
import { setReadOnly } from '../../storage/refusing-disk.js';
import { canMount, mountSmallDisk, SMALL_DISK_BYTES } from '../../storage/small-disk.js';
import { expectError } from '../expect-error.js';
import { eventually, openRun, rawClient, SMALL } from '../harness.js';
import { newDataDir } from '../lives.js';
import { f32Space, f32Values, read } from '../read.js';
import { logLines, type ServerProcess, startServerProcess } from '../server-process.js';
import { Upload } from '../upload.js';

const mounting = canMount();
const TIMEOUT_MS = 120_000;

/** Starts a server whose data directory is a file system of 1 MiB, with a run at step 1. */
async function startOnSmallDisk(grace: string) {
  const disk = mountSmallDisk()!;
  onTestFinished(() => disk.unmount());
  const server = await startServerProcess(join(disk.path, 'data'), 0, ['--stop-grace', grace]);
  onTestFinished(() => server.kill());
  const client = rawClient(server);
  const { generation } = await openRun(client, { ...SMALL, incarnation: 'a' });
  await new Upload(client)
    .open(generation)
    .push(1, f32Space([1, 2, 3, 4]))
    .ack();
  return { disk, server, client, filler: join(disk.path, 'filler') };
}

const messages = (server: ServerProcess): unknown[] => logLines(server).map(({ msg }) => msg);

describe('a stop whose save is refused', { timeout: TIMEOUT_MS }, () => {
  test.skipIf(!mounting.isAble)(
    `says how to save the run elsewhere, answers reads, and is done when there is room again${mounting.note}`,
    async () => {
      const { disk, server, client, filler } = await startOnSmallDisk('10m');
      await writeFile(filler, Buffer.alloc(SMALL_DISK_BYTES)).catch(() => undefined);
      server.command.child.kill('SIGTERM');
      const line = await eventually(() => logLines(server).find(({ msg }) => /^run not saved: give/.test(`${msg}`)));
      expect(line).toMatchObject({ run: 'r', step: 1, err: { code: 'NO_SPACE' } });
      const out = join(await newDataDir(), 'r.safetensors');
      const [command] = line['elsewhere'] as string[];
      expect(command).toBe(`shadowkeep pull r --average ema --target 127.0.0.1:${server.port} --out r-ema.safetensors`);
      await succeed([...command!.split(' ').slice(1, -1), out, '--json']);
      expect(f32Values((await read(client)).bytes, 4)).toEqual([1, 2, 3, 4]);
      await expectError(openRun(client), 'UNAVAILABLE', 'SHUTTING_DOWN', /shutting down/);
      await rm(filler);
      expect((await server.command.outcome).status).toBe(0);
      expect(messages(server)).toContain('run saved');
      const again = await startServerProcess(join(disk.path, 'data'));
      expect((await read(rawClient(again))).header).toMatchObject({ step: 1 });
      expect(await again.stop()).toBe(0);
    },
  );

  test.skipIf(!mounting.isAble)(`is an error when the grace is over, and names the run${mounting.note}`, async () => {
    const { disk, server } = await startOnSmallDisk('0s');
    setReadOnly(disk.path, true);
    expect(await server.stop()).toBe(1);
    const { stderr } = await server.command.outcome;
    expect(stderr).toMatch(/run not saved: it is lost with this process/);
    expect(stderr).toMatch(/1 runs could not be saved: .*EROFS/);
    setReadOnly(disk.path, false);
  });
});

describe('a data directory is looked at when the server starts', { timeout: TIMEOUT_MS }, () => {
  test.skipIf(!mounting.isAble)(
    `read-only or full: it does not start, and says the way out${mounting.note}`,
    async () => {
      const disk = mountSmallDisk()!;
      onTestFinished(() => disk.unmount());
      const WAYS = /cannot keep runs: .*--data-dir DIR.*--data-dir none/;
      setReadOnly(disk.path, true);
      await expect(startServerProcess(disk.path)).rejects.toThrow(WAYS);
      await expect(startServerProcess(join(disk.path, 'new'))).rejects.toThrow(WAYS);
      setReadOnly(disk.path, false);
      await writeFile(join(disk.path, 'filler'), Buffer.alloc(SMALL_DISK_BYTES)).catch(() => undefined);
      await expect(startServerProcess(disk.path)).rejects.toThrow(WAYS);
      await rm(join(disk.path, 'filler'));
      const server = await startServerProcess(disk.path);
      expect(logLines(server)).toContainEqual(
        expect.objectContaining({
          level: 40,
          budgetBytes: 128 << 20,
          msg: expect.stringMatching(/less room than the memory/),
        }),
      );
      expect(await server.stop()).toBe(0);
    },
  );

  test('open to everybody on the machine: a warning with the way out', async () => {
    const dataDir = await newDataDir();
    await chmod(dataDir, 0o777);
    const server = await startServerProcess(dataDir);
    expect(messages(server)).toContain('everybody on this machine may change the data directory: chmod 700 it');
    expect(await server.stop()).toBe(0);
  });
});
