import type { ServiceError } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { checkHealth } from '../../src/client/index.js';
import { ERROR_TABLE } from '../../src/common/index.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { decodeErrorDetails } from '../../src/protocol/index.js';
import { ask, openRun, rawClient, SMALL, serve } from '../server/harness.js';
import { read } from '../server/read.js';
import { Upload } from '../server/upload.js';
import { Random } from './mutate.js';

const SEED = Number(process.env['SHADOWKEEP_SEED'] ?? 20_261_128);

/** More of them, and larger ones, by hand: 65536 is the most tensors. */
const ROUNDS = Number(process.env['SHADOWKEEP_ROUNDS'] ?? 10);
const TENSORS_MAX = Number(process.env['SHADOWKEEP_TENSOR_COUNT'] ?? 4_096);

/** For a hang, not for speed. */
const ANSWER_TIMEOUT_MS = 50_000;

interface Sizes {
  readonly count: number;
  readonly rank: number;
  readonly nameChars: number;
  readonly patterns: number;
  readonly averages: number;
  readonly boxesEach: number;
}

function sizesFrom(random: Random): Sizes {
  return {
    count: 1 + random.below(random.pick([1, 40, 1_100, TENSORS_MAX])),
    rank: random.pick([0, 1, 2, 5, 64, 65]),
    nameChars: random.pick([8, 100, 512, 513]),
    patterns: random.pick([0, 0, 1, 40, 1_024]),
    averages: random.pick([1, 2, 16]),
    boxesEach: random.pick([0, 1, 2, 4]),
  };
}

const nameOf = (index: number, { nameChars }: Sizes): string =>
  `${'layer.'.repeat(100).slice(0, nameChars - 7)}${index}`;

function requestOf(sizes: Sizes) {
  const { count, rank, patterns, averages } = sizes;
  const include = Array.from({ length: patterns }, (_, index) =>
    index === 0 ? '*' : `*${nameOf(index % count, sizes)}`,
  );
  return {
    run: 'sized',
    tensors: Array.from({ length: count }, (_, index) => {
      return {
        name: nameOf(index, sizes),
        dtype: 'F32' as const,
        shape: Array.from({ length: rank }, (_, dim) => (dim === 0 ? 4 : 1)),
      };
    }),
    averages: Array.from({ length: averages }, (_, index) => ({
      name: `a${index}`,
      start: 'FIRST' as const,
      mean: {},
      include,
    })),
  };
}

/** Each tensor in so many boxes along its first dimension. */
function boxesOf({ count, rank, boxesEach }: Sizes): object[] {
  const rows = 4 / boxesEach;
  return Array.from({ length: count * boxesEach }, (_, index) => {
    const ones = Array(rank - 1).fill(1);
    const first = (index % boxesEach) * rows;
    return { tensor: Math.floor(index / boxesEach), offset: [first, ...ones.map(() => 0)], extent: [rows, ...ones] };
  });
}

/** Opens a run of these sizes, writes a step and reads it whole and in boxes. Throws what the service refuses. */
async function live(client: ShadowWeightsClient, sizes: Sizes): Promise<void> {
  const { generation } = await openRun(client, requestOf(sizes));
  const boxes = sizes.rank === 0 || sizes.boxesEach === 0 ? [] : boxesOf(sizes);
  const upload = new Upload(client).send({ open: { run: 'sized', generation, boxes } });
  const { step_bytes: bytes } = await upload.opened();
  for (let offset = 0; offset < bytes; offset += 1 << 20) {
    upload.send({ chunk: { step: 1, offset, data: Buffer.alloc(Math.min(1 << 20, bytes - offset), 1) } });
  }
  upload.send({ commit: { step: 1, bytes } });
  expect(await upload.ack()).toMatchObject({ step: 1, state: 'COMMITTED' });
  await upload.end();
  const average = 'a0';
  const whole = await read(client, { run: 'sized', average });
  expect(whole.header.tensor_count).toBe(sizes.count);
  expect(whole.bytes).toHaveLength(64 * sizes.count);
  const inBoxes = await read(client, { run: 'sized', average, boxes });
  expect(inBoxes.header.tensor_count).toBe(boxes.length === 0 ? sizes.count : boxes.length);
  expect((await ask(client, 'GetRun', { run: 'sized' })).tensor_count).toBe(sizes.count);
}

function reasonOf(error: unknown): string | undefined {
  const details = (error as Partial<ServiceError>).metadata?.get('grpc-status-details-bin')[0];
  if (!(details instanceof Buffer)) throw error;
  return decodeErrorDetails(details)?.reason;
}

test(`whatever its sizes, a run is served or refused for a reason, health answers, nothing is left, seed ${SEED}`, async () => {
  console.info(`SHADOWKEEP_SEED=${SEED}`);
  const server = await serve();
  const client = rawClient(server);
  await openRun(client, SMALL);
  const free = async (): Promise<number | undefined> => (await ask(client, 'GetRun')).memory?.budget_free_bytes;
  const before = await free();
  const random = new Random(SEED);
  let served = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const sizes = sizesFrom(random);
    const what = JSON.stringify(sizes);
    let isOver = false;
    const health = (async () => {
      do {
        expect(await checkHealth(`127.0.0.1:${server.port}`, { timeoutMs: ANSWER_TIMEOUT_MS }), what).toBe('SERVING');
      } while (!isOver);
    })();
    try {
      await live(client, sizes);
      served += 1;
    } catch (error) {
      // gRPC itself refuses a message over its limit, without a reason.
      const isTooLarge = /RESOURCE_EXHAUSTED: Received message larger than max/.test((error as Error).message);
      if (!isTooLarge) expect(ERROR_TABLE, what).toHaveProperty(reasonOf(error) ?? 'none');
    } finally {
      isOver = true;
      await health;
    }
    await ask(client, 'DeleteRun', { run: 'sized' }).catch((error: unknown) =>
      expect(reasonOf(error)).toBe('RUN_NOT_FOUND'),
    );
    expect(await free(), what).toBe(before);
  }
  console.info(`${served} of ${ROUNDS} were served`);
  expect(served).toBeGreaterThan(0);
});
