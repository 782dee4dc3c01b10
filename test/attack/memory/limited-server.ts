import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { connect, type ShadowkeepClient } from '../../../src/client/index.js';
import { MemoryCgroup } from '../../support/memory-cgroup.js';
import { HealthProber } from './health-prober.js';

const MAIN = fileURLToPath(new URL('../../../dist/main.js', import.meta.url));
const WRITERS = fileURLToPath(new URL('../../../bench/peers/writers.mjs', import.meta.url));

/** The sizes of large trainings and attacks, up to 4 GiB of memory, take minutes; otherwise they are scaled down. */
export const IS_FULL_SIZE = process.env['SHADOWKEEP_FULL_SIZE'] !== undefined;

/** The built service as users start it, in a cgroup of so many bytes, with nothing said about its memory. */
export class LimitedServer {
  readonly cgroup: MemoryCgroup;
  readonly #lines: JsonLines;
  readonly target: string;
  readonly port: number;
  readonly client: ShadowkeepClient;
  readonly #prober: HealthProber;

  private constructor(cgroup: MemoryCgroup, lines: JsonLines, target: string) {
    this.cgroup = cgroup;
    this.#lines = lines;
    this.target = target;
    this.port = Number(target.split(':').at(-1));
    this.client = connect(target);
    this.#prober = new HealthProber(target, lines.child.pid!);
  }

  static async start(limitBytes: number, flags: readonly string[] = []): Promise<LimitedServer> {
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: npm run build`);
    const cgroup = MemoryCgroup.create(limitBytes);
    const serve = [MAIN, 'serve', '--json', '--listen', '127.0.0.1:0', '--data-dir', 'none', ...flags];
    const lines = new JsonLines('sh', ['-c', cgroup.script, 'sh', process.execPath, ...serve]);
    const { listening } = (await lines.next()) as { listening: string };
    return new LimitedServer(cgroup, lines, listening);
  }

  get log(): string {
    return this.#lines.errors;
  }

  /** It was never killed, nor did it end by itself, and its health was answered all the while. */
  async expectAlive(): Promise<void> {
    expect(this.cgroup.killCount, this.log).toBe(0);
    expect(this.#lines.child.exitCode ?? this.#lines.child.signalCode, this.log).toBeNull();
    await this.#prober.expectAnswered(expect.getState().currentTestName ?? '');
  }

  async stop(): Promise<void> {
    this.#prober.stop();
    this.client.close();
    await this.#lines.end();
    this.cgroup.remove();
  }
}

/** Writers of one trainer in few processes, each with a connection of its own, that push as fast as they may. */
export class PushingWorld {
  readonly #processes: JsonLines[];

  private constructor(processes: JsonLines[]) {
    this.#processes = processes;
  }

  /** `stepBytes`: of all writers together; float32. */
  static async open(target: string, run: string, writers: number, stepBytes: number): Promise<PushingWorld> {
    const processes = Array.from({ length: Math.min(2, writers) }, () => new JsonLines(process.execPath, [WRITERS]));
    const world = new PushingWorld(processes);
    const shape = [writers, Math.floor(stepBytes / 4 / writers)];
    await Promise.all(
      processes.map((process, index) => {
        const first = Math.floor((writers * index) / processes.length);
        const last = Math.floor((writers * (index + 1)) / processes.length);
        const trainer = { target, run, model: { count: 1, shape }, writers, first, last, connections: last - first };
        return process.ask({ command: 'prepare', ...trainer });
      }),
    );
    await world.#all({ command: 'open' });
    return world;
  }

  /** Resolves when all writers have the acknowledgements of so many steps more. */
  async push(count: number): Promise<void> {
    await this.#all({ command: 'push', count });
  }

  async #all(command: object): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.ask(command)));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.end()));
  }
}

/** A process that writes JSON lines. */
class JsonLines {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  errors = '';

  constructor(command: string, args: readonly string[]) {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('SHADOWKEEP_'));
    this.child = spawn(command, args, { stdio: 'pipe', env: Object.fromEntries(kept) });
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    this.child.stdin.on('error', () => undefined);
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async next(): Promise<unknown> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`a process ended: ${this.errors}`);
    return JSON.parse(value);
  }

  async ask(command: object): Promise<unknown> {
    this.child.stdin.write(`${JSON.stringify(command)}\n`);
    return await this.next();
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}
