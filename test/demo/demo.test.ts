import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import type { Summary } from '../../src/demo/summary.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** A demo takes seconds; a machine with much else to do gets two minutes. */
const TIMEOUT_MS = 120_000;

interface Demo {
  readonly process: ChildProcess;
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  /** Resolves to the match when standard output has it; rejects when the demo ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
}

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

function startDemo(...args: string[]): Demo {
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return {
    process: child,
    ended,
    async printed(pattern) {
      for (;;) {
        const match = pattern.exec(stdout);
        if (match !== null) return match;
        const next = await Promise.race([once(child.stdout, 'data'), ended]);
        if (!Array.isArray(next)) throw new Error(`ended with ${next.code} before ${pattern}: ${stderr}`);
      }
    },
  };
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Starts a long demo and waits until its processes are at work. */
async function startLong(): Promise<{ demo: Demo; trainerPid: number; evaluatorPid: number }> {
  const demo = startDemo('--steps', '20000');
  const trainerPid = Number((await demo.printed(/trainer +pid (\d+)/))[1]);
  const evaluatorPid = Number((await demo.printed(/evaluator +pid (\d+)/))[1]);
  await demo.printed(/^ +[1-9]\d* +\d+\.\d{3} /m);
  expect([trainerPid, evaluatorPid].map(isAlive)).toEqual([true, true]);
  return { demo, trainerPid, evaluatorPid };
}

async function expectGone(...pids: number[]): Promise<void> {
  await expect.poll(() => pids.filter(isAlive), { timeout: 10_000 }).toEqual([]);
}

describe('shadowkeep demo', () => {
  test('--json prints one object whose every number fits', { timeout: TIMEOUT_MS }, async () => {
    const { code, stdout, stderr } = await startDemo('--json', '--steps', '300', '--seed', '7').ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    const summary = JSON.parse(stdout) as Summary;
    expect(summary).toMatchObject({ ok: true, seed: 7, steps: 300 });
    expect(summary.difference).toBeGreaterThan(0);
    expect(summary.difference).toBeLessThanOrEqual(summary.differenceBound);
    expect(summary.differenceBound).toBeLessThan(1e-4);
    expect(summary.accuracyEma).toBeGreaterThan(0.9);
    // 4,810 float32 weights in four tensors, each padded to 64 bytes, once more for the first weights.
    expect(summary.pushedBytes).toBe(301 * (64 * 64 * 4 + 64 * 4 + 10 * 64 * 4 + 64));
    expect(summary.pulledBytes).toBe(summary.rows.length * 4810 * 4);
    const steps = summary.rows.map(({ step }) => step);
    expect(steps.toSorted((left, right) => left - right)).toEqual(steps);
    expect([steps[0], steps.at(-1)]).toEqual([0, 300]);
    expect(new Set(steps).size).toBe(steps.length);
    // Nothing is folded into the first weights: they come back bit for bit.
    expect(summary.rows[0]).toMatchObject({ difference: 0, accuracyEma: summary.rows[0]!.accuracyRaw });
  });

  test('the table says the same, and the seed decides it', { timeout: TIMEOUT_MS }, async () => {
    const args = ['--steps', '200', '--seed', '5'];
    const [text, json] = [await startDemo(...args).ended, await startDemo(...args, '--json').ended];
    expect({ code: text.code, stderr: text.stderr }).toEqual({ code: 0, stderr: '' });
    expect(text.stdout).toMatch(/\nOK: 5 of 5 checks hold\n$/);
    expect(text.stdout).not.toContain('\u001b');
    expect(Math.max(...text.stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    const last = (JSON.parse(json.stdout) as Summary).rows.at(-1)!;
    const cells = [
      last.loss!.toFixed(3),
      ...[last.accuracyRaw, last.accuracyEma].map((x) => `${(100 * x).toFixed(1)} %`),
    ];
    expect(/^ +200 +(.*%) {3}\S+$/m.exec(text.stdout)?.[1]?.split(/ {2,}/)).toEqual(cells);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s stops all three processes', { timeout: TIMEOUT_MS }, async (signal, exitCode) => {
    const { demo, trainerPid, evaluatorPid } = await startLong();
    demo.process.kill(signal);
    expect(await demo.ended).toMatchObject({ code: exitCode, stderr: `shadowkeep: interrupted by ${signal}\n` });
    await expectGone(trainerPid, evaluatorPid);
  });

  test.each(['trainer', 'evaluator'] as const)(
    'killing the %s fails the demo',
    { timeout: TIMEOUT_MS },
    async (role) => {
      const { demo, trainerPid, evaluatorPid } = await startLong();
      process.kill(role === 'trainer' ? trainerPid : evaluatorPid, 'SIGKILL');
      const { code, stdout, stderr } = await demo.ended;
      expect(code).toBe(1);
      expect(stdout).not.toContain('OK');
      expect(stderr).toContain(`the ${role} was ended by SIGKILL`);
      await expectGone(trainerPid, evaluatorPid);
    },
  );

  test('children do not outlive a parent that is killed', { timeout: TIMEOUT_MS }, async () => {
    const { demo, trainerPid, evaluatorPid } = await startLong();
    demo.process.kill('SIGKILL');
    await expectGone(trainerPid, evaluatorPid);
  });

  test.each([
    ['--steps', '199', '200 to 20000'],
    ['--seed', '1.5', '0 to 4294967295'],
  ])('%s %s is refused with its bounds', { timeout: TIMEOUT_MS }, async (flag, value, bounds) => {
    const { code, stdout, stderr } = await startDemo(flag, value).ended;
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`${flag} must be an integer from ${bounds}, got "${value}"`);
  });
});
