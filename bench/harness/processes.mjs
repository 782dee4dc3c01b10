import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const PEERS = new URL('../peers/', import.meta.url);

/** A child that prints nothing for this long hangs. The slowest command takes about a minute. */
const SILENCE_MS_MAX = 600_000;
const KILL_AFTER_MS = 10_000;

/** Runs `body` with functions that start processes, and ends all of these processes, whatever happens. */
export async function withProcesses(context, body) {
  const started = [];
  const keep = (process) => {
    started.push(process);
    return process;
  };
  try {
    return await body({
      server: async (flags) => keep(await startServer(flags)),
      peer: (script) => keep(new Peer(context.python, script)),
    });
  } finally {
    await Promise.all(started.map((process) => process.stop()));
  }
}

/** Starts `shadowkeep serve` as users do, on a free port and without a data directory, with these further flags. */
async function startServer(flags = []) {
  const base = ['serve', '--json', '--listen', '127.0.0.1:0', '--data-dir', 'none', '--log-level', 'warn'];
  const child = new Child(process.execPath, [MAIN, ...base, ...flags]);
  try {
    const { listening } = JSON.parse(await child.line());
    return { target: listening, pid: child.pid, stop: () => child.stop() };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

/** A Python or Node process that takes commands as JSON lines and answers each with one (bench/peers/commands.*). */
class Peer {
  #child;

  constructor(python, script) {
    const file = fileURLToPath(new URL(script, PEERS));
    this.#child = script.endsWith('.py') ? new Child(python, ['-u', file]) : new Child(process.execPath, [file]);
    this.pid = this.#child.pid;
  }

  /** @returns {Promise<any>} */
  async call(command, options = {}) {
    this.#child.write(`${JSON.stringify({ command, ...options })}\n`);
    return JSON.parse(await this.#child.line());
  }

  stop() {
    return this.#child.stop();
  }
}

/** The processes that run now. */
const running = new Set();

let endsChildrenAtExit = false;

/** Ends all processes at exit, so that an interrupted benchmark leaves no server with gigabytes behind. */
function endChildrenAtExit() {
  if (endsChildrenAtExit) return;
  endsChildrenAtExit = true;
  process.once('exit', () => {
    for (const child of running) child.kill('SIGKILL');
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
}

/** A process whose standard output is read line by line. Its standard error goes to the user. */
class Child {
  #process;
  #lines;
  #exited;

  constructor(command, args) {
    endChildrenAtExit();
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env: environment() });
    running.add(this.#process);
    this.#process.once('exit', () => running.delete(this.#process));
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
    // Errors of writing are ignored: a child that is gone is noticed when its output ends.
    this.#process.stdin.on('error', () => undefined);
    this.#exited = new Promise((resolve, reject) => {
      this.#process.once('error', reject);
      this.#process.once('exit', resolve);
    });
    this.#exited.catch(() => undefined);
    this.pid = this.#process.pid;
    this.name = `${command} ${args.join(' ')}`;
  }

  write(text) {
    this.#process.stdin.write(text);
  }

  async line() {
    let timer;
    const silence = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer from ${this.name}`)), SILENCE_MS_MAX);
    });
    try {
      const { done, value } = await Promise.race([this.#lines.next(), silence]);
      if (done) throw new Error(`${this.name} ended`);
      return value;
    } finally {
      clearTimeout(timer);
    }
  }

  async stop() {
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), KILL_AFTER_MS);
    this.#process.kill('SIGTERM');
    await this.#exited.catch(() => undefined);
    clearTimeout(timer);
  }
}

/** The user's environment without variables of the service, which would change what is measured. */
function environment() {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('SHADOWKEEP_'));
  return { ...Object.fromEntries(kept), PYTHONPATH: `${ROOT}/python/src` };
}
