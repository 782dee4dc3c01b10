import { afterEach, describe, expect, test } from 'vitest';
import { averageEma } from '../../../src/client/index.js';
import { MemoryCgroup } from '../../support/memory-cgroup.js';
import { IS_FULL_SIZE, LimitedServer, PushingWorld } from './limited-server.js';

const MIB = 1 << 20;
const WHY_NOT = MemoryCgroup.whyNot();

const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** What a run has beside its numbers: the scratch of its arenas, and ends of pages. */
const OWN_SHARE = 1 / 128;

/** The largest run that the default budget allows has shadows and one step of this many bytes each. */
async function largestStepBytes(server: LimitedServer, writers: number): Promise<number> {
  const probe = await server.client.openRun({
    run: 'probe',
    tensors: [{ name: 'w', dtype: 'F32', shape: [1] }],
    averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' })],
  });
  await probe.close();
  const { memory } = await server.client.getRun('probe');
  await server.client.deleteRun('probe');
  const row = 64 * writers;
  return Math.floor((memory.budgetFreeBytes * (1 - OWN_SHARE) - 8 * MIB) / 2 / row) * row;
}

describe.skipIf(WHY_NOT !== undefined)(
  `trainings in a cgroup${WHY_NOT === undefined ? '' : ` (SKIPPED: ${WHY_NOT})`}`,
  () => {
    test.each(
      IS_FULL_SIZE
        ? [
            { writers: 32, limitMib: 1_024, steps: 3, stepMib: 0 },
            { writers: 192, limitMib: 4_096, steps: 3, stepMib: 0 },
            { writers: 1_024, limitMib: 4_096, steps: 3, stepMib: 0 },
          ]
        : [
            { writers: 32, limitMib: 512, steps: 2, stepMib: 0 },
            { writers: 1_024, limitMib: 768, steps: 2, stepMib: 64 },
          ],
    )(
      '$writers writers push to a server of $limitMib MiB, and nothing is killed',
      async ({ writers, limitMib, steps, stepMib }) => {
        const server = await LimitedServer.start(limitMib * MIB);
        stops.push(() => server.stop());
        const stepBytes = stepMib * MIB || (await largestStepBytes(server, writers));
        const world = await PushingWorld.open(server.target, 'r', writers, stepBytes);
        stops.push(() => world.stop());
        await world.push(steps);
        await server.expectAlive();
        expect(await server.client.getRun('r')).toMatchObject({ committedStep: steps, writersConnected: writers });
      },
      600_000,
    );
  },
);
