import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { expect } from 'vitest';
import { checkHealth } from '../../../src/client/index.js';

/** No measure of speed: machines that run this are slow and shared. */
const ANSWER_MS_MAX = 30_000;

const PAUSE_MS = 20;

/** One question, and what the server was while it waited for the answer. */
interface Probe {
  readonly latencyMs: number;
  /** For so long the server's main thread ran: what of the latency may be its own doing, and not that of others on the machine. */
  readonly ranMs: number;
  readonly residentBytes: number;
}

/** Asks for the service's health over and over, each time on a new connection. */
export class HealthProber {
  readonly #target: string;
  readonly #pid: number;
  /** Since the last time that somebody asked. */
  #probes: Probe[] = [];
  #failure: unknown;
  #isStopped = false;

  constructor(target: string, pid: number) {
    this.#target = target;
    this.#pid = pid;
    void this.#probe();
  }

  async #probe(): Promise<void> {
    while (!this.#isStopped) {
      const beganMs = performance.now();
      const ranMs = this.#ranMs();
      try {
        await checkHealth(this.#target, { timeoutMs: ANSWER_MS_MAX });
        const latencyMs = performance.now() - beganMs;
        this.#probes.push({ latencyMs, ranMs: this.#ranMs() - ranMs, residentBytes: this.#residentBytes() });
      } catch (error) {
        if (!this.#isStopped) this.#failure ??= error;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** It has been answered all the while, and is so now. */
  async expectAnswered(what: string): Promise<void> {
    const before = this.#probes.length;
    while (this.#failure === undefined && this.#probes.length === before) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS / 2));
    }
    expect(this.#failure).toBeUndefined();
    const probes = this.#probes;
    this.#probes = [];
    if (process.env['SHADOWKEEP_SHOW_FIGURES'] !== undefined) console.log(`${what}: ${figuresOf(probes)}`);
  }

  stop(): void {
    this.#isStopped = true;
  }

  #ranMs(): number {
    const [ranNs] = this.#read(`task/${this.#pid}/schedstat`).split(' ');
    return Number(ranNs) / 1e6;
  }

  #residentBytes(): number {
    return 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(this.#read('status'))?.[1]);
  }

  /** Empty when it has ended, which the next question tells. */
  #read(name: string): string {
    try {
      return readFileSync(`/proc/${this.#pid}/${name}`, 'utf8');
    } catch {
      return '';
    }
  }
}

function figuresOf(probes: readonly Probe[]): string {
  const of = (field: keyof Probe, share: number): number => {
    const sorted = probes.map((probe) => probe[field]).sort((a, b) => a - b);
    return sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;
  };
  const health = [0.5, 0.99, 1].map((share) => of('latencyMs', share).toFixed(1)).join(' / ');
  const ran = [0.5, 0.99, 1].map((share) => of('ranMs', share).toFixed(1)).join(' / ');
  const residentMib = (of('residentBytes', 1) / (1 << 20)).toFixed(0);
  const load = loadavg()[0]?.toFixed(1);
  return (
    `${probes.length} health checks, p50 / p99 / max ${health} ms, while which the server ran ${ran} ms; ` +
    `at most ${residentMib} MiB resident; load average ${load}`
  );
}
