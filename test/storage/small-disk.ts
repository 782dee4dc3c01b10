import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const SMALL_DISK_BYTES = 1 << 20;

/** A file system of 1 MiB. Undefined where this user may not mount one. */
export function mountSmallDisk(): { path: string; unmount(): void } | undefined {
  const path = mkdtempSync(join(tmpdir(), 'shadowkeep-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_BYTES}`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    rmSync(path, { recursive: true });
    return undefined;
  }
  const unmount = () => {
    execFileSync('umount', [path]);
    rmSync(path, { recursive: true });
  };
  return { path, unmount };
}

/** For the title of a test that needs one. */
export function canMount(): { isAble: boolean; note: string } {
  const disk = mountSmallDisk();
  disk?.unmount();
  return disk ? { isAble: true, note: '' } : { isAble: false, note: ' (skipped: mounting needs root)' };
}
