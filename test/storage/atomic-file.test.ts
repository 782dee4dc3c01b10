import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AtomicFile, writeFileAtomic } from '../../src/storage/atomic-file.js';
import { claimAndRename } from '../../src/storage/publish.js';
import { cut, namesIn, randomBytes, storageFailure, temporaryDirectory } from './fixtures.js';
import { canMount, mountSmallDisk, SMALL_DISK_BYTES } from './small-disk.js';

const mounting = canMount();

describe('AtomicFile', () => {
  test.each([[[1]], [[1 << 20]], [[(1 << 20) + 1]], [[3, 1 << 20, 70_000]], [[1 << 19]], [[0, 5 << 20]]])(
    'gathers pieces of %j bytes into the same file',
    async (sizes) => {
      const path = join(await temporaryDirectory(), 'file');
      const bytes = randomBytes(sizes[0] === 1 ? 2_000 : 3_000_001, 2);
      const file = await AtomicFile.create(path);
      const buffer = new Uint8Array(8 << 20);
      for (const piece of cut(bytes, sizes)) {
        // The same buffer each time: what was given may be changed as soon as the promise is fulfilled.
        buffer.set(piece);
        await file.write(buffer.subarray(0, piece.length));
        buffer.fill(0xee, 0, piece.length);
      }
      const digest = await file.seal();
      await file.publish();
      const written = await readFile(path);
      expect(written.equals(bytes)).toBe(true);
      expect(digest).toEqual({ bytes: bytes.length, sha256: createHash('sha256').update(written).digest('hex') });
    },
  );

  test('is not there before publish, and leaves only itself', async () => {
    const directory = await temporaryDirectory();
    const file = await AtomicFile.create(join(directory, 'file'));
    await file.write(Buffer.from('x'));
    await file.seal();
    expect(await namesIn(directory)).toEqual([expect.stringMatching(/^\.shadowkeep-[0-9a-f]{16}\.tmp$/)]);
    await file.publish();
    await file.abort();
    expect(await namesIn(directory)).toEqual(['file']);
  });

  test('abort leaves nothing, at any moment', async () => {
    const directory = await temporaryDirectory();
    const fresh = await AtomicFile.create(join(directory, 'a'));
    await fresh.abort();
    const written = await AtomicFile.create(join(directory, 'b'));
    await written.write(Buffer.from('x'));
    await written.abort();
    await written.abort();
    const sealed = await AtomicFile.create(join(directory, 'c'));
    await sealed.seal();
    await sealed.abort();
    expect(await namesIn(directory)).toEqual([]);
  });
});

describe('what is there already', () => {
  test('is refused at once', async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, 'file');
    await writeFile(path, 'old');
    const error = await storageFailure(writeFileAtomic(path, Buffer.from('new')), 'EXISTS');
    expect(error.message).toBe(`${path} exists already`);
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await namesIn(directory)).toEqual(['file']);
  });

  test('is refused when it appears while the file is written', async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, 'file');
    const file = await AtomicFile.create(path);
    await file.write(Buffer.from('new'));
    await file.seal();
    await writeFile(path, 'other');
    await storageFailure(file.publish(), 'EXISTS');
    expect(await readFile(path, 'utf8')).toBe('other');
    expect(await namesIn(directory)).toEqual(['file']);
  });

  test('is refused in the same way without hard links', async () => {
    const directory = await temporaryDirectory();
    const [temporary, path] = [join(directory, 'temporary'), join(directory, 'file')];
    await writeFile(temporary, 'new');
    await writeFile(path, 'old');
    await storageFailure(claimAndRename(temporary, path), 'EXISTS');
    expect(await readFile(path, 'utf8')).toBe('old');
    await claimAndRename(temporary, join(directory, 'free'));
    expect(await readFile(join(directory, 'free'), 'utf8')).toBe('new');
    expect(await namesIn(directory)).toEqual(['file', 'free']);
  });

  test('is replaced when asked, and a link is replaced, not followed', async () => {
    const directory = await temporaryDirectory();
    const [path, aim] = [join(directory, 'link'), join(directory, 'aim')];
    await writeFile(aim, 'old');
    await symlink(aim, path);
    await writeFileAtomic(path, Buffer.from('new'), { overwrite: true });
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await readFile(aim, 'utf8')).toBe('old');
  });

  test('a dangling link counts as there; a directory is never replaced', async () => {
    const directory = await temporaryDirectory();
    await symlink(join(directory, 'nothing'), join(directory, 'link'));
    await storageFailure(writeFileAtomic(join(directory, 'link'), Buffer.from('x')), 'EXISTS');
    await mkdir(join(directory, 'directory'));
    const overDirectory = writeFileAtomic(join(directory, 'directory'), Buffer.from('x'), { overwrite: true });
    expect((await storageFailure(overDirectory, 'INVALID_INPUT')).message).toContain('is a directory');
  });
});

test('a missing directory is named', async () => {
  const directory = await temporaryDirectory();
  const error = await storageFailure(writeFileAtomic(join(directory, 'no', 'file'), Buffer.from('x')), 'NOT_FOUND');
  expect(error.message).toMatch(/no\/file: its directory does not exist$/);
});

test('a directory without write permission is an error', async (context) => {
  if (process.getuid?.() === 0) context.skip('root may write anywhere');
  const directory = await temporaryDirectory();
  await chmod(directory, 0o500);
  await storageFailure(writeFileAtomic(join(directory, 'file'), Buffer.from('x')), 'IO');
  await chmod(directory, 0o700);
});

test('permissions are the ones asked for', async () => {
  const path = join(await temporaryDirectory(), 'file');
  await writeFileAtomic(path, Buffer.from('x'), { mode: 0o600 });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test.skipIf(!mounting.isAble)(
  `a full disk names path and bytes, and keeps what was there${mounting.note}`,
  async () => {
    const disk = mountSmallDisk()!;
    try {
      const path = join(disk.path, 'file');
      await writeFile(path, 'old');
      for (const excess of [1, 4096, 1 << 20]) {
        const bytes = new Uint8Array(SMALL_DISK_BYTES + excess);
        const error = await storageFailure(writeFileAtomic(path, bytes, { overwrite: true }), 'NO_SPACE');
        expect(error.path).toBe(path);
        expect(error.message).toContain(`no space left for ${path}: it needs ${bytes.length} bytes`);
        expect(await readFile(path, 'utf8')).toBe('old');
        expect(await namesIn(disk.path)).toEqual(['file']);
      }
    } finally {
      disk.unmount();
    }
  },
);
