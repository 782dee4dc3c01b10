import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Takes from everybody, root too, the right to change a file or the names in a directory. */
export function setImmutable(path: string, isImmutable: boolean): void {
  execFileSync('chattr', [isImmutable ? '+i' : '-i', path], { stdio: 'pipe' });
}

/** Makes a mounted file system read-only, or writable again. */
export function setReadOnly(mountPoint: string, isReadOnly: boolean): void {
  execFileSync('mount', ['-o', `remount,${isReadOnly ? 'ro' : 'rw'}`, mountPoint], { stdio: 'pipe' });
}

/** For the title of a test that needs it. */
export function canSetImmutable(): { isAble: boolean; note: string } {
  const path = mkdtempSync(join(tmpdir(), 'shadowkeep-immutable-'));
  try {
    setImmutable(path, true);
    setImmutable(path, false);
    return { isAble: true, note: '' };
  } catch {
    return { isAble: false, note: ' (skipped: chattr needs root and a file system that has it)' };
  } finally {
    rmSync(path, { recursive: true });
  }
}
