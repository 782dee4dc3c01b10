import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where memory cgroups are made, of the first version or the second, if this process may. */
const ROOTS = [
  { version: 1, root: '/sys/fs/cgroup/memory' },
  { version: 2, root: '/sys/fs/cgroup' },
] as const;

/** A control group with a memory limit and no swap, as a container has: the kernel ends a process that goes over. */
export class MemoryCgroup {
  readonly #path: string;
  readonly #version: 1 | 2;

  private constructor(path: string, version: 1 | 2) {
    this.#path = path;
    this.#version = version;
  }

  static create(limitBytes: number): MemoryCgroup {
    for (const { version, root } of ROOTS) {
      const marker = version === 1 ? 'memory.limit_in_bytes' : 'cgroup.subtree_control';
      if (!existsSync(join(root, marker))) continue;
      const path = join(root, `shadowkeep-test-${process.pid}-${Date.now()}`);
      if (version === 2) writeFileSync(join(root, 'cgroup.subtree_control'), '+memory');
      mkdirSync(path);
      const group = new MemoryCgroup(path, version);
      group.#limit(limitBytes);
      return group;
    }
    throw new Error('no memory controller is mounted under /sys/fs/cgroup');
  }

  /** Why none can be made here. */
  static whyNot(): string | undefined {
    try {
      MemoryCgroup.create(64 << 20).remove();
      return undefined;
    } catch (error) {
      return `no memory cgroup can be made: ${(error as Error).message}`;
    }
  }

  #limit(bytes: number): void {
    const files =
      this.#version === 1
        ? ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes']
        : ['memory.max', 'memory.swap.max'];
    const [memory = '', swap = ''] = files.map((name) => join(this.#path, name));
    writeFileSync(memory, String(bytes));
    // A kernel without swap accounting has no such file.
    if (existsSync(swap)) writeFileSync(swap, this.#version === 1 ? String(bytes) : '0');
  }

  /** A shell command that runs `"$@"` in the group. */
  get script(): string {
    return `echo $$ > '${join(this.#path, 'cgroup.procs')}' && exec "$@"`;
  }

  /** Processes that the kernel has killed for their memory. */
  get killCount(): number {
    const events = this.#read(this.#version === 1 ? 'memory.oom_control' : 'memory.events');
    return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  }

  /** The most memory that it has had, page cache included. */
  get peakBytes(): number {
    return Number(this.#read(this.#version === 1 ? 'memory.max_usage_in_bytes' : 'memory.peak'));
  }

  /** When no process is left in it. */
  remove(): void {
    rmdirSync(this.#path);
  }

  #read(name: string): string {
    const path = join(this.#path, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }
}
