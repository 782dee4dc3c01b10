import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../support/source-files.js';

/** The fields that each benchmark promises (bench/README.md); a dot leads into a nested object. */
const FIGURES: Readonly<Record<string, readonly string[]>> = {
  ingest: [
    'shadowkeep_gbps',
    'tcp_gbps',
    'python_grpc_gbps',
    'stock_window_gbps',
    'vs_tcp',
    'vs_python_grpc',
    'vs_stock_window',
  ],
  pull: ['shadowkeep_gbps', 'tcp_gbps', 'python_grpc_gbps', 'vs_tcp', 'vs_python_grpc'],
  kernel: ['F32', 'BF16', 'F16', 'F64'].flatMap((dtype) =>
    ['gelems_per_s', 'vs_torch_foreach', 'vs_js_loop', 'in_cache.gelems_per_s', 'in_cache.vs_torch_foreach'].map(
      (figure) => `${figure}.${dtype}`,
    ),
  ),
  averages: [
    'three_vs_one',
    'step_three_vs_one',
    'torch_three_vs_one',
    'vs_torch_three',
    'f64_vs_f32',
    'movement_vs_fold',
    'finite_vs_fold',
  ],
  stall: ['shadowkeep_ms', 'foreach_lerp_ms', 'textbook_ms', 'back_to_back_ms', 'vs_foreach_lerp', 'vs_textbook'],
  memory: ['F32_1_average', 'F32_2_averages', 'BF16_1_average', 'BF16_2_averages'].flatMap((cell) => [
    `bytes_per_parameter.${cell}`,
    `vs_design.${cell}`,
  ]),
  scaling: [
    ...['10M', '100M', '1200M'].map((cell) => `cpu_s_per_gb.parameters.${cell}`),
    ...['1', '100', '10000'].map((cell) => `cpu_s_per_gb.tensors.${cell}`),
    'spread.parameters',
    'spread.tensors',
  ],
  health: ['fold_p99_ms', 'push_p99_ms', 'idle_p99_ms', 'fold_vs_idle'],
  writers: [
    ...['1', '4', '16'].flatMap((count) => [`ingest_gbps.${count}`, `server_cpu_s_per_gb.${count}`]),
    ...['4', '16'].map((count) => `vs_one_writer.${count}`),
    'open_s',
    'open_rss_mib',
    'commit_cpu_ms.4',
    'commit_cpu_ms_per_writer',
  ],
  followers: [
    ...['0', '4', '32'].flatMap((count) => [`trainer_gbps.${count}`, `rss_vs_bound.${count}`]),
    ...['4', '32'].flatMap((count) => [`vs_alone.${count}`, `read_gbps.${count}`]),
  ],
};

/** Ratios of two figures of the same round. */
const RATIOS: Readonly<Record<string, readonly [string, string, string][]>> = {
  ingest: [
    ['vs_tcp', 'shadowkeep_gbps', 'tcp_gbps'],
    ['vs_python_grpc', 'shadowkeep_gbps', 'python_grpc_gbps'],
    ['vs_stock_window', 'shadowkeep_gbps', 'stock_window_gbps'],
  ],
  pull: [['vs_tcp', 'shadowkeep_gbps', 'tcp_gbps']],
  averages: [['three_vs_one', 'ns_per_element.three', 'ns_per_element.one']],
  stall: [['vs_foreach_lerp', 'shadowkeep_ms', 'foreach_lerp_ms']],
  writers: [
    ['vs_one_writer.4', 'ingest_gbps.4', 'ingest_gbps.1'],
    ['vs_one_writer.16', 'ingest_gbps.16', 'ingest_gbps.1'],
  ],
  followers: [['vs_alone.4', 'trainer_gbps.4', 'trainer_gbps.0']],
};

interface Target {
  readonly figure: string;
  readonly at_least?: number;
  readonly at_most?: number;
  readonly value: number;
  readonly met: boolean;
}

interface Result {
  readonly benchmark: string;
  readonly skipped?: string;
  readonly pairs: number;
  readonly targets: readonly Target[];
  readonly machine: Readonly<Record<string, string | number>>;
  readonly ranges: unknown;
  readonly samples: unknown;
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const python = process.env['SHADOWKEEP_PYTHON'] ?? join(ROOT, 'python/.venv/bin/python');
const PAIRS = 2;
/** Most benchmarks start Python and import torch, one runs hundreds of writers. */
const TIMEOUT_MS = 300_000;

/** `onProgress` sees standard error grow; when it says true the benchmark is told to end. */
async function bench(args: string[], onProgress?: (stderr: string, pid: number) => boolean): Promise<Ended> {
  const env = { ...process.env, SHADOWKEEP_PYTHON: python };
  const child = spawn(process.execPath, ['bench/run.mjs', ...args], { cwd: ROOT, env });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
    if (onProgress?.(stderr, child.pid ?? 0)) child.kill('SIGTERM');
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('close', resolve);
    child.on('error', reject);
  });
  return { code, stdout, stderr };
}

/** Processes that `pid` has started and that are still there, from Linux's /proc. */
function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.split(' ').filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Equal but for the rounding of figures to four digits. */
function expectAlike(found: number, expected: number, figure: string): void {
  const tolerance = 0.002 * Math.max(Math.abs(found), Math.abs(expected));
  expect(Math.abs(found - expected), `${figure}: ${found} for ${expected}`).toBeLessThanOrEqual(tolerance);
}

function at(root: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], root);
}

describe.skipIf(!existsSync(python))('npm run bench, with tiny sizes', { timeout: TIMEOUT_MS }, () => {
  test.for(Object.keys(FIGURES))('%s prints one object with its figures on the last line', async (name, context) => {
    const { code, stdout, stderr } = await bench([name, '--quick', '--json', '--pairs', String(PAIRS)]);
    expect(code, stderr).toBe(0);
    const result = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Result;
    expect(result.benchmark).toBe(name);
    if (result.skipped !== undefined) return context.skip(result.skipped);

    expect(result.pairs).toBe(PAIRS);
    expect(result.machine).toMatchObject({ cores: expect.any(Number), node: process.versions.node });
    for (const figure of FIGURES[name] ?? []) {
      const samples = at(result.samples, figure) as number[];
      const [least, largest] = at(result.ranges, figure) as [number, number];
      expect(samples, figure).toHaveLength(PAIRS);
      expect(Math.min(...samples), figure).toBe(least);
      expect(Math.max(...samples), figure).toBe(largest);
      // A difference of measured times may have any sign, or be 0 where a machine is fast.
      expect(Number.isFinite(least) && Number.isFinite(largest), figure).toBe(true);
      expectAlike(at(result, figure) as number, (least + largest) / 2, figure);
    }
    for (const [ratio, above, below] of RATIOS[name] ?? []) {
      const [value, numerator, denominator] = [ratio, above, below].map((path) => at(result.samples, path) as number[]);
      for (let round = 0; round < PAIRS; round++) {
        expectAlike(value![round]! * denominator![round]!, numerator![round]!, ratio);
      }
    }
    expect(result.targets.length).toBeGreaterThan(0);
    for (const target of result.targets) {
      expect(at(result, target.figure), target.figure).toBe(target.value);
      const { at_least: least = Number.NEGATIVE_INFINITY, at_most: most = Number.POSITIVE_INFINITY } = target;
      expect(target.met, target.figure).toBe(target.value >= least && target.value <= most);
    }
  });

  test('without --json prints a table with targets', async () => {
    const { code, stdout, stderr } = await bench(['kernel', '--quick', '--pairs', '1']);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^benchmark +figure +median +min – max +target/);
    if (!stdout.includes('skipped')) expect(stdout).toMatch(/^kernel +vs_js_loop\.F32 .* ≥ 4 +(met|MISSED)$/m);
  });

  test.skipIf(!existsSync('/proc/self/task'))('leaves no process behind when it is told to end', async () => {
    let children: number[] = [];
    const { code } = await bench(['health', '--quick', '--pairs', '50'], (stderr, pid) => {
      if (children.length === 0 && stderr.includes('round 1')) children = childrenOf(pid);
      return children.length > 0;
    });
    expect(code).toBe(1);
    expect(children.length, 'a server, a trainer and a prober').toBeGreaterThanOrEqual(2);
    await expect.poll(() => children.filter(isAlive), { timeout: 30_000 }).toEqual([]);
  });

  test.each([
    { args: ['nothing'], problem: 'there is no benchmark nothing' },
    { args: ['kernel', '--pairs', '0'], problem: '--pairs must be an integer from 1 to 100, got 0' },
    { args: ['--what'], problem: '--what' },
  ])('refuses $args', async ({ args, problem }) => {
    const { code, stdout, stderr } = await bench(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(problem);
  });
});
