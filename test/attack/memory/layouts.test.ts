import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { shadowWeightsDefinition } from '../../../src/protocol/index.js';
import { MemoryCgroup } from '../../support/memory-cgroup.js';
import { Attacker, prefix, request } from './attacker.js';
import { IS_FULL_SIZE, LimitedServer } from './limited-server.js';

const MIB = 1 << 20;
const WHY_NOT = MemoryCgroup.whyNot();

/** What runs may take, and what the process may take beside that. */
const BUDGET_MIB = 512;
const PROCESS_MIB = 256;

const TENSOR_COUNT = 65_536;
const PART_TENSORS = 4_096;
const LAYOUT_COUNT = IS_FULL_SIZE ? 1_000 : 16;
/** Trainers that ask at the same time. */
const ASKED_TOGETHER = 8;

let server: LimitedServer | undefined;
let attacker: Attacker | undefined;

afterEach(async () => {
  attacker?.close();
  await server?.stop();
});

/** The messages of a request whose layout is large: they are the same for each run but for the first. */
function partsOf(nameChars: number, rank: number): Buffer[] {
  const shape = new Array(rank).fill(1);
  const tensors = Array.from({ length: TENSOR_COUNT }, (_, index) => {
    return { name: String(index).padStart(nameChars, 'layers.'), dtype: 'F32', shape };
  });
  return Array.from({ length: TENSOR_COUNT / PART_TENSORS }, (_, part) => {
    const bytes = shadowWeightsDefinition.OpenRun.requestSerialize({
      tensors: tensors.slice(part * PART_TENSORS, (part + 1) * PART_TENSORS) as never,
    });
    return Buffer.concat([prefix(bytes.length), bytes]);
  });
}

/** Asks for a run and resolves when that is answered. */
async function ask(from: Attacker, run: string, parts: readonly Buffer[]): Promise<void> {
  const stream = from.stream('OpenRunInParts');
  stream.resume();
  const closed = new Promise((resolve) => stream.once('close', resolve));
  stream.write(request('OpenRun', { run, averages: [{ name: 'a', start: 'FIRST', mean: {} }] }));
  for (const part of parts) stream.write(part);
  stream.end();
  await closed;
}

describe.skipIf(WHY_NOT !== undefined)(
  `a server with a budget of ${BUDGET_MIB} MiB${WHY_NOT === undefined ? '' : ` (SKIPPED: ${WHY_NOT})`}`,
  () => {
    test.each([
      ['short names', 6, 1],
      ['names of 128 bytes', 128, 1],
      ['rank 20', 6, 20],
    ])(
      `outlives ${LAYOUT_COUNT} layouts of ${TENSOR_COUNT} tensors with %s`,
      async (_, nameChars, rank) => {
        server = await LimitedServer.start((BUDGET_MIB + PROCESS_MIB) * MIB, ['--memory', `${BUDGET_MIB}MiB`]);
        attacker = new Attacker(server.port);
        const parts = partsOf(nameChars, rank);
        let asked = 0;
        const trainer = async (from: Attacker): Promise<void> => {
          while (asked < LAYOUT_COUNT) await ask(from, `run-${asked++}`, parts);
        };
        await Promise.all(Array.from({ length: ASKED_TOGETHER }, () => trainer(attacker!)));
        await server.expectAlive();
        const runs = await server.client.listRuns();
        const { statuses } = attacker;
        // What was made is what was answered so, and nothing else was said than that there is no room; a stream that is ended
        // by the last guard is told so too.
        expect(statuses.filter((code) => code === status.OK)).toHaveLength(runs.length);
        expect(new Set(statuses)).toEqual(new Set([status.OK, status.RESOURCE_EXHAUSTED]));
        expect(statuses).toHaveLength(LAYOUT_COUNT);
        for (const { run } of runs) await server.client.deleteRun(run);
        await ask(attacker, 'another', parts);
        expect(statuses.at(-1), attacker.messages.at(-1)).toBe(status.OK);
        if (process.env['SHADOWKEEP_SHOW_FIGURES'] !== undefined) console.log(`${runs.length} of ${LAYOUT_COUNT} made`);
      },
      3_600_000,
    );
  },
);
