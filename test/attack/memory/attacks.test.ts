import { createConnection } from 'node:net';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { averageEma } from '../../../src/client/index.js';
import { eventually } from '../../server/harness.js';
import { MemoryCgroup } from '../../support/memory-cgroup.js';
import { Attacker, prefix, request, tinyFrames } from './attacker.js';
import { IS_FULL_SIZE, LimitedServer, PushingWorld } from './limited-server.js';

const MIB = 1 << 20;
const WHY_NOT = MemoryCgroup.whyNot();
const LIMIT_BYTES = 512 * MIB;

/** As large as gRPC takes it. */
const MESSAGE_BYTES = 8 * MIB;

/** Tensors of a run whose GetRun is megabytes. */
const TENSOR_COUNT = 20_000;

const BOX_READER_COUNT = IS_FULL_SIZE ? 100 : 40;

const attackers: Attacker[] = [];
let server: LimitedServer;
let world: PushingWorld;
let step = 0;

function attacker(settings?: { initialWindowSize?: number }): Attacker {
  const made = new Attacker(server.port, settings);
  attackers.push(made);
  return made;
}

/** The trainer of another run makes so many steps, whatever else happens. */
async function train(steps: number): Promise<void> {
  await world.push(steps);
  step += steps;
  expect((await server.client.getRun('trained')).committedStep).toBe(step);
}

describe.skipIf(WHY_NOT !== undefined)(
  `a server in a cgroup of 512 MiB${WHY_NOT === undefined ? '' : ` (SKIPPED: ${WHY_NOT})`}`,
  { timeout: 180_000 },
  () => {
    beforeAll(async () => {
      server = await LimitedServer.start(LIMIT_BYTES);
      world = await PushingWorld.open(server.target, 'trained', 2, 16 * MIB);
      await train(1);
    }, 180_000);

    afterEach(() => {
      for (const made of attackers.splice(0)) made.close();
    });

    afterAll(async () => {
      await world?.stop();
      await server?.stop();
    });

    test.each(['Update', 'OpenRun'] as const)('outlives 128 half messages of 8 MiB to %s', async (method) => {
      const made = attacker();
      const half = Buffer.alloc(MESSAGE_BYTES - 1);
      for (let count = 0; count < 128; count++) {
        const one = made.stream(method);
        one.write(prefix(MESSAGE_BYTES));
        one.write(half);
      }
      await train(2);
      // Those that hold the room are ended one after the other, because others wait for it.
      await eventually(() => (made.statuses.includes(status.RESOURCE_EXHAUSTED) ? true : undefined));
      await train(1);
      await server.expectAlive();
    });

    test('outlives one-byte DATA frames on 16 streams, which it ends', async () => {
      // The log speaks of ended streams every ten seconds at most, and the attacks before may have used up its turn.
      await eventually(async () => {
        const socket = createConnection(server.port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.resume();
        // Each may have 2,048 of them; the messages would be millions.
        socket.write(tinyFrames(16, 3_000));
        await train(1);
        socket.destroy();
        return server.log.includes('2048 pieces of less than 256 bytes') ? true : undefined;
      });
      await server.expectAlive();
    });

    test('refuses 100 streams of compressed messages before it inflates any', async () => {
      const bomb = gzipSync(Buffer.alloc(MESSAGE_BYTES));
      const made = attacker();
      for (const headers of [{ 'grpc-encoding': 'gzip' }, { 'grpc-encoding': 'deflate' }, {}]) {
        for (let count = 0; count < 34; count++) {
          const one = made.stream('OpenRun', headers);
          one.end(Buffer.concat([prefix(bomb.length, true), bomb]));
        }
      }
      await train(1);
      await eventually(() => (made.statuses.length === 3 * 34 ? true : undefined));
      expect(new Set(made.statuses)).toEqual(new Set([status.UNIMPLEMENTED]));
      await server.expectAlive();
    });

    test('outlives 100 stalled readers of 4 MiB chunks, and serves another one', async () => {
      const made = attacker({ initialWindowSize: 1 });
      for (let count = 0; count < 100; count++) {
        made.stream('GetShadow').end(request('GetShadow', { run: 'trained', latest: {}, chunk_bytes: 4_190_208 }));
      }
      await train(2);
      const shadow = await server.client.getShadow({ run: 'trained' });
      expect(shadow.step).toBe(step);
      await server.expectAlive();
    });

    test(`outlives ${BOX_READER_COUNT} stalled readers of 65,536 boxes each, and serves another one`, async () => {
      const made = attacker({ initialWindowSize: 1 });
      const boxes = Array.from({ length: 65_536 }, (_, index) => ({ offset: [0, index], extent: [1, 1] }));
      const read = request('GetShadow', { run: 'trained', latest: {}, boxes });
      for (let count = 0; count < BOX_READER_COUNT; count++) made.stream('GetShadow').end(read);
      await eventually(async () => {
        const { readersConnected } = await server.client.getRun('trained');
        return readersConnected + made.endedCount >= BOX_READER_COUNT ? true : undefined;
      });
      await train(2);
      const shadow = await server.client.getShadow({ run: 'trained', names: ['*'] });
      expect(shadow.step).toBe(step);
      await server.expectAlive();
      // What they take is counted: the last guard, which ends streams of anybody, had nothing to do.
      expect(server.log).not.toContain('memory is short');
    });

    test('outlives 120 unread answers of GetRun, and serves another one', async () => {
      const handle = await server.client.openRun({
        run: 'wide',
        tensors: Array.from({ length: TENSOR_COUNT }, (_, index) => ({
          name: `${'layers.'.repeat(10)}${index}`,
          dtype: 'F32',
          shape: [1],
        })),
        averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' })],
      });
      await handle.close();
      const made = attacker({ initialWindowSize: 1 });
      for (let count = 0; count < 120; count++) made.stream('GetRun').end(request('GetRun', { run: 'wide' }));
      await train(1);
      expect((await server.client.getRun('wide')).tensorCount).toBe(TENSOR_COUNT);
      await server.expectAlive();
      await server.client.deleteRun('wide');
    });
  },
);
