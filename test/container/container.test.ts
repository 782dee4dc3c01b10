import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { GenericContainer, type StartedTestContainer } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { averageEma, averageMean, connect, type Shadow, type ShadowkeepClient } from '../../src/client/index.js';
import { closedPort } from '../support/closed-port.js';
import { composeCommand, skipNote, whyNoContainers } from '../support/containers.js';
import { expectedEma, randomNumbers } from '../support/expected-ema.js';
import { ROOT } from '../support/source-files.js';
import { IMAGE, LIMIT_BYTES, openSilentPeer, PORT, removeAll, Service, stateOf } from './service.js';

const BUILD_TIMEOUT_MS = 420_000;
const STOP_TIMEOUT_MS = 30_000;
const HEALTHY_TIMEOUT_MS = 50_000;
const SEED = 20_251;

const noContainers = whyNoContainers();
const compose = composeCommand();
const noCompose = noContainers ?? (compose === undefined ? 'docker compose is not installed' : undefined);
if (noContainers !== undefined) console.warn(`SKIPPED the container: ${noContainers}`);
if (noCompose !== undefined) console.warn(`SKIPPED docker compose: ${noCompose}`);

describe.skipIf(noContainers !== undefined)(`the container${skipNote(noContainers)}`, () => {
  const volume = `shadowkeep-test-${process.pid}`;
  const started: StartedTestContainer[] = [];
  let service: StartedTestContainer;
  let client: ShadowkeepClient;

  const start = async () => {
    service = await new Service(volume).start();
    started.push(service);
    client = connect(`${service.getHost()}:${service.getMappedPort(PORT)}`);
  };

  beforeAll(async () => {
    await GenericContainer.fromDockerfile(ROOT).build(IMAGE, { deleteOnExit: false });
    await start();
  }, BUILD_TIMEOUT_MS);

  afterAll(async () => {
    client?.close();
    await removeAll(started, volume);
  });

  test('is healthy, runs as uid 1000, and can write to its volume only', async () => {
    expect((await service.exec(['node', 'dist/main.js', 'health'])).exitCode).toBe(0);
    expect((await service.exec(['id', '-u'])).output.trim()).toBe('1000');
    expect((await service.exec(['test', '-w', '/data'])).exitCode).toBe(0);
    const written = await service.exec(['touch', '/tmp/file']);
    expect(written.output).toContain('Read-only file system');
  });

  test('averages what is pushed from outside', async () => {
    const random = randomNumbers(SEED);
    const weights = () => Float32Array.from({ length: 64 * 33 }, random);
    const initial = weights();
    const updates = Array.from({ length: 20 }, weights);
    const run = await client.openRun({
      run: 'digits',
      tensors: [
        { name: 'layer.weight', dtype: 'F32', shape: [64, 33] },
        { name: 'steps', dtype: 'I64', shape: [] },
      ],
      averages: [averageEma('ema', { decay: 0.9, start: 'INITIAL' })],
    });
    await run.pushInitial(0, { 'layer.weight': initial, steps: BigInt64Array.of(0n) });
    for (const [index, update] of updates.entries()) {
      await run.update(index + 1, { 'layer.weight': update, steps: BigInt64Array.of(BigInt(index + 1)) });
    }
    await run.close();

    const shadow = await client.getShadow({ run: 'digits' });
    expect(shadow.step).toBe(20);
    expect(shadow.numUpdates).toBe(20);
    expect(int64Of(shadow, 'steps')).toEqual([20n]);
    const expected = expectedEma(initial, updates, 0.9);
    const errors = float32Of(shadow, 'layer.weight').map((value, i) => Math.abs(value - (expected[i] ?? Number.NaN)));
    // 20 float32 roundings of values below 1.
    expect(Math.max(...errors), `seed ${SEED}`).toBeLessThan(20 * 2 ** -23);
  });

  test('sizes its budget by the memory limit, and a run that fills it is not killed', async () => {
    const spec = (elements: number) => ({
      run: 'large',
      tensors: [{ name: 'weight', dtype: 'F32' as const, shape: [elements] }],
      averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' })],
    });
    await expect(client.openRun(spec(LIMIT_BYTES / 4))).rejects.toMatchObject({ reason: 'MEMORY_EXHAUSTED' });

    const { budgetBytes, budgetFreeBytes } = (await client.getRun('digits')).memory;
    expect(budgetBytes).toBeLessThan(LIMIT_BYTES);
    // The shadow and a step in flight take 95 % of what is free.
    const elements = Math.floor((budgetFreeBytes * 0.95) / 2 / 4);
    const run = await client.openRun(spec(elements));
    for (const step of [1, 2, 3]) await run.update(step, { weight: new Float32Array(elements).fill(step) });
    await run.close();
    const shadow = await client.getShadow({ run: 'large' });
    // 1, then halfway to 2, then halfway to 3
    expect(float32Of(shadow, 'weight').every((value) => value === 2.25)).toBe(true);
    await client.deleteRun('large');
    expect(await stateOf(service)).toMatchObject({ Running: true, OOMKilled: false });
  });

  test('stops on SIGTERM with exit code 0 whatever its clients do, and another container goes on', async () => {
    const before = await client.getShadow({ run: 'digits' });
    client.close();
    const peer = await openSilentPeer(service);
    await service.stop({ remove: false, timeout: STOP_TIMEOUT_MS });
    peer.destroy();
    expect(await stateOf(service)).toMatchObject({ ExitCode: 0, OOMKilled: false });

    await start();
    const after = await client.getShadow({ run: 'digits' });
    expect(after.step).toBe(before.step);
    expect(after.numUpdates).toBe(before.numUpdates);
    expect(after.tensors).toEqual(before.tensors);
  });
});

describe.skipIf(noCompose !== undefined)(`docker compose up${skipNote(noCompose)}`, () => {
  let env: NodeJS.ProcessEnv;
  let port: number;

  const run = async (program: string, args: readonly string[]) =>
    (await promisify(execFile)(program, [...args], { cwd: ROOT, env })).stdout.trim();
  const composed = (...args: string[]) => {
    const [program = '', ...words] = compose ?? [];
    return run(program, [...words, ...args]);
  };

  beforeAll(async () => {
    port = await closedPort();
    env = {
      ...process.env,
      COMPOSE_PROJECT_NAME: `shadowkeep-test-${process.pid}`,
      SHADOWKEEP_IMAGE: IMAGE,
      SHADOWKEEP_PORT: String(port),
      SHADOWKEEP_MEMORY_LIMIT: '512m',
    };
    await composed('up', '--detach', '--build');
  }, BUILD_TIMEOUT_MS);

  afterAll(async () => {
    await composed('down', '--volumes', '--timeout', '60');
  });

  test('gives a healthy, hardened service', async () => {
    const id = await composed('ps', '--quiet', 'shadowkeep');
    const inspect = async () => JSON.parse(await run('docker', ['inspect', id]))[0];
    const waiting = { timeout: HEALTHY_TIMEOUT_MS, interval: 500 };
    await expect.poll(async () => (await inspect()).State.Health.Status, waiting).toBe('healthy');
    const { HostConfig, Config } = await inspect();
    expect(Config.User).toBe('node');
    expect(HostConfig).toMatchObject({ ReadonlyRootfs: true, CapDrop: ['ALL'], Init: true, Memory: LIMIT_BYTES });
    expect(HostConfig.SecurityOpt).toContain('no-new-privileges:true');
    expect(HostConfig.PortBindings).toEqual({ '50051/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] });
  });

  test('keeps its runs over down and up', async () => {
    const push = connect(`127.0.0.1:${port}`);
    const pushed = await push.openRun({
      run: 'kept',
      tensors: [{ name: 'bias', dtype: 'F32', shape: [2] }],
      averages: [averageMean('swa')],
    });
    await pushed.update(1, { bias: Float32Array.of(1, 2) });
    await pushed.update(2, { bias: Float32Array.of(3, 4) });
    await pushed.close();
    push.close();

    await composed('down', '--timeout', '60');
    await composed('up', '--detach');

    const pull = connect(`127.0.0.1:${port}`);
    const countRuns = async () => (await pull.listRuns().catch(() => [])).length;
    await expect.poll(countRuns, { timeout: HEALTHY_TIMEOUT_MS, interval: 500 }).toBe(1);
    expect([...float32Of(await pull.getShadow({ run: 'kept' }), 'bias')]).toEqual([2, 3]);
    pull.close();
  });
});

function float32Of(shadow: Shadow, name: string): Float32Array {
  const data = shadow.tensors.get(name)?.data ?? new Uint8Array();
  return new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
}

function int64Of(shadow: Shadow, name: string): bigint[] {
  const data = shadow.tensors.get(name)?.data ?? new Uint8Array();
  return [...new BigInt64Array(data.buffer, data.byteOffset, data.byteLength / 8)];
}
