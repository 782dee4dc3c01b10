import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { averageMean, type ShadowkeepClient } from '../../src/client/index.js';
import { closedPort } from '../support/closed-port.js';
import { statusOf } from './scripted-peer.js';
import { connectTo, eventually, f32, failureOf, startPeer, startService } from './support.js';
import { TcpProxy } from './tcp-proxy.js';

/** An address where nobody listens. */
const NOWHERE = `127.0.0.1:${await closedPort()}`;

const OPTIONS = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [2] }],
  averages: [averageMean('m'), averageMean('n')],
} as const;

type Begin = (client: ShadowkeepClient) => Promise<unknown>;

const REPEATABLE: [string, Begin][] = [
  ['GetRun', (client) => client.getRun('r')],
  ['ListRuns', (client) => client.listRuns()],
  ['ListRuns of damaged ones', (client) => client.listDamagedRuns()],
  ['OpenRun', async (client) => (await client.openRun(OPTIONS)).close()],
  ['GetShadow', (client) => client.getShadow({ run: 'r', average: 'm' })],
  ['GetShadow in parts', (client) => client.readShadow({ run: 'r', average: 'm', boxes: [{ tensor: 'w' }] })],
  ['WatchRun', (client) => client.watchRun('r').next()],
];
const ONCE: [string, Begin][] = [
  ['AddAverage', (client) => client.addAverage('r', averageMean('added'))],
  ['RemoveAverage', (client) => client.removeAverage('r', 'n')],
  ['DeleteRun', (client) => client.deleteRun('r')],
];

/** Starts a service with a run, behind a proxy that is closed. */
async function startBehindProxy(options?: Parameters<typeof connectTo>[1]) {
  const { client: direct, target } = await startService();
  const run = await direct.openRun(OPTIONS);
  await run.update(1, { w: f32(1, 2) });
  await run.close();
  const proxy = await TcpProxy.start(target);
  proxy.isDown = true;
  return { proxy, client: connectTo(proxy.target, options) };
}

describe('a service that is not up yet', () => {
  test.each([...REPEATABLE, ...ONCE])('is waited for by %s', async (_, begin) => {
    const { proxy, client } = await startBehindProxy();
    const pending = begin(client);
    await eventually(() => proxy.refusals).toBeGreaterThan(1);
    proxy.isDown = false;
    await pending;
  });

  test('nor has a port that listens', async () => {
    const { server, target } = await startService();
    await server.stop();
    const pending = connectTo(target).listRuns();
    await startService({ listen: target });
    expect(await pending).toEqual([]);
  });

  test.each([...REPEATABLE, ...ONCE])('is said at once by %s, where nothing is to be waited for', async (_, begin) => {
    const { proxy, client } = await startBehindProxy({ serviceWaitMs: 0 });
    expect(await failureOf(begin(client))).toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining(`cannot reach the service at ${proxy.target}: `),
    });
  });

  test.each([false, { deadlineMs: 0 }] as const)('is said at once by what has reconnect: %j', async (reconnect) => {
    const { client } = await startBehindProxy();
    const unavailable = { code: 'UNAVAILABLE' };
    expect(await failureOf(client.openRun({ ...OPTIONS, reconnect }))).toMatchObject(unavailable);
    expect(await failureOf(client.getShadow({ run: 'r', average: 'm', reconnect }))).toMatchObject(unavailable);
  });

  test('is given up at the deadline, with the last failure', async () => {
    const { proxy, client } = await startBehindProxy({ serviceWaitMs: 500 });
    expect(await failureOf(client.getRun('r'))).toMatchObject({ code: 'UNAVAILABLE', permanent: false });
    expect(proxy.refusals).toBeGreaterThan(0);
  });

  test('is waited for until the signal says otherwise', async () => {
    const { proxy, client } = await startBehindProxy();
    const controller = new AbortController();
    const pending = client.getShadow({ run: 'r', average: 'm', signal: controller.signal });
    await eventually(() => proxy.refusals).toBeGreaterThan(0);
    const reason = new Error('enough');
    controller.abort(reason);
    expect(await failureOf(pending)).toBe(reason);
  });

  test('and whose host has no address is not waited for', async () => {
    expect(await failureOf(connectTo('nosuch.invalid:1').listRuns())).toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('cannot reach the service at nosuch.invalid:1: '),
    });
  });
});

const BROKEN = { code: 14, details: 'the connection broke' };
const MADE_ROOM = [statusOf('TRANSPORT_EXHAUSTED'), statusOf('TOO_MANY_CONNECTIONS')];

/** Starts a service that fails the first call of each method after the request has arrived. */
async function startBreaking(failure: object) {
  const calls: string[] = [];
  const breaking =
    (method: string, answer: object) => (_: ServerUnaryCall<object, object>, callback: sendUnaryData<object>) => {
      calls.push(method);
      if (calls.filter((call) => call === method).length === 1) callback(failure);
      else callback(null, answer);
    };
  const { client } = await startPeer({
    GetRun: breaking('GetRun', { run: 'r', memory: {} }),
    ListRuns: breaking('ListRuns', {}),
    AddAverage: breaking('AddAverage', {}),
    RemoveAverage: breaking('RemoveAverage', {}),
    DeleteRun: breaking('DeleteRun', {}),
  });
  return { client, calls };
}

describe('a call whose answer was lost', () => {
  test.each(REPEATABLE.slice(0, 3))('is made again: %s', async (_, begin) => {
    for (const failure of [BROKEN, ...MADE_ROOM]) {
      const { client, calls } = await startBreaking(failure);
      await begin(client);
      expect(calls).toHaveLength(2);
    }
  });

  test.each(ONCE)('is not, where it may have been done: %s', async (_, begin) => {
    const { client, calls } = await startBreaking(BROKEN);
    expect(await failureOf(begin(client))).toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^lost the service at 127\.0\.0\.1:\d+: the connection broke$/),
    });
    expect(calls).toHaveLength(1);
  });

  test.each(REPEATABLE.slice(0, 3))('is not, where it was refused: %s', async (_, begin) => {
    for (const failure of [{ code: 8, details: 'no room' }, statusOf('MEMORY_EXHAUSTED'), statusOf('TOO_MANY_RUNS')]) {
      const { client, calls } = await startBreaking(failure);
      expect(await failureOf(begin(client))).toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: failure.details });
      expect(calls).toHaveLength(1);
    }
  });
});

function setEnvironment(values: Record<string, string>): void {
  Object.assign(process.env, values);
  onTestFinished(() => Object.keys(values).forEach((name) => void delete process.env[name]));
}

describe('a proxy of the environment', () => {
  test.each(['grpc_proxy', 'https_proxy', 'http_proxy'])('hides no service of this machine: %s', async (variable) => {
    setEnvironment({ [variable]: `http://${NOWHERE}` });
    const { target } = await startService();
    expect(await connectTo(target).listRuns()).toEqual([]);
    expect(await connectTo(target.replace('127.0.0.1', 'localhost')).listRuns()).toEqual([]);
  });

  test.each(['grpc_proxy', 'https_proxy', 'http_proxy'])('that leads nowhere is named: %s', async (variable) => {
    setEnvironment({ [variable]: `http://someone:secret@${NOWHERE}` });
    const { message } = await failureOf(connectTo('shadowkeep.invalid:50051', { serviceWaitMs: 0 }).listRuns());
    expect(message).toBe(
      `cannot reach the service at shadowkeep.invalid:50051: no connection; ${variable} is set, and gRPC goes through ` +
        `that proxy, ${NOWHERE}, unless no_proxy names the host: no_proxy=shadowkeep.invalid`,
    );
  });

  test('is not named where no_proxy goes round it', async () => {
    setEnvironment({ http_proxy: `http://${NOWHERE}`, no_proxy: '.invalid' });
    const { message } = await failureOf(connectTo('shadowkeep.invalid:50051', { serviceWaitMs: 0 }).listRuns());
    expect(message).toContain('cannot reach the service at shadowkeep.invalid:50051: ');
    expect(message).not.toContain('proxy');
  });
});
