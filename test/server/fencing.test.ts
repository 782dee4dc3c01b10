import { expect, test } from 'vitest';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { randomNumbers } from '../support/expected-ema.js';
import { NaiveEma, partOf, shards, type TestTensor, type ValueOf } from './crew.js';
import { expectError } from './expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from './harness.js';
import { read } from './read.js';
import { Upload } from './upload.js';

/*
 * Two lives of a trainer race around a commit. The old life, with one or two writers, sends its last steps while the new life
 * opens its generation and sends its own. Each step of the old life is committed before the new life begins, or never:
 *
 *   old   1 … base | base + 1, base + 2 (commits in flight) … zombie
 *   new                      OpenRun ↯ | committed + 1, committed + 2
 */
const SEED = Number(process.env['SHADOWKEEP_SEED'] ?? 20_261_122);
const RACES = 500;
const RACES_PER_RUN = 50;

/** The test takes forty seconds on two busy cores. */
const TIMEOUT_MS = 240_000;

const TENSORS: TestTensor[] = [{ name: 'w', dtype: 'F32', shape: [6, 8] }];

/** Values that differ for each life and step, so that a step of the wrong life shows. */
const valuesOf =
  (life: number, step: number): ValueOf =>
  (_, index) =>
    (life % 16) * 1_024 + step * 8 + index;

type Below = (count: number) => number;

/** Lets others run for a random number of microtasks or turns of the event loop. */
async function hop(below: Below): Promise<void> {
  const [turns, isMicro] = [below(12), below(3) === 0];
  for (let turn = 0; turn < turns; turn++) {
    if (isMicro) await undefined;
    else await new Promise((resolve) => setImmediate(resolve));
  }
}

/** One life of a trainer, with its streams and what it sends. */
class Life {
  readonly parts;
  readonly crew: Upload[];

  private constructor(
    client: ShadowWeightsClient,
    readonly number: number,
    readonly generation: number,
    writers: number,
  ) {
    this.parts = shards(TENSORS, writers, number % 2);
    this.crew = this.parts.map((boxes, writer) => new Upload(client).open(generation, { writer, boxes }));
  }

  static async begin(client: ShadowWeightsClient, run: string, number: number, writers: number) {
    const opened = await openRun(client, { ...SMALL, run, tensors: TENSORS, incarnation: `life ${number}`, writers });
    return { opened, life: new Life(onRun(client, run), number, opened.generation, writers) };
  }

  async send(step: number, below?: Below): Promise<void> {
    for (const [writer, upload] of this.crew.entries()) {
      const data = partOf(TENSORS, this.parts[writer]!, valuesOf(this.number, step));
      upload.chunk(step, 0, data.subarray(0, 64));
      if (below !== undefined) await hop(below);
      if (data.length > 64) upload.chunk(step, 64, data.subarray(64));
      upload.commit(step, data.length);
      if (below !== undefined) await hop(below);
    }
  }

  /** The steps that every writer was told are committed, until the streams end. */
  async acknowledged(): Promise<number[]> {
    const told = await Promise.all(
      this.crew.map(async (upload) => {
        const steps: number[] = [];
        await expectError(
          (async () => {
            for (;;) {
              const { step, state } = await upload.ack();
              expect(state).toBe('COMMITTED');
              steps.push(Number(step));
            }
          })(),
          'ABORTED',
          'GENERATION_FENCED',
          new RegExp(
            `^generation ${this.generation + 1} of run "\\w+" has begun: |^generation ${this.generation} of run "\\w+" was fenced`,
          ),
        );
        return steps;
      }),
    );
    return told[0]!.filter((step) => told.every((steps) => steps.includes(step)));
  }
}

/** A client whose openings name this run. */
function onRun(client: ShadowWeightsClient, run: string): ShadowWeightsClient {
  return {
    update: () => {
      const stream = client.update();
      const write = stream.write.bind(stream);
      stream.write = ((message: { open?: object }) =>
        write(message.open ? { open: { ...message.open, run } } : message)) as never;
      return stream;
    },
  } as unknown as ShadowWeightsClient;
}

/**
 * Lets lives of a run race, each with the one before it. Counts how many steps of the old life came before the new one.
 */
async function race(
  client: ShadowWeightsClient,
  run: string,
  first: number,
  below: Below,
  counts: number[],
): Promise<void> {
  let naive = new NaiveEma(TENSORS);
  let { life: old } = await Life.begin(client, run, first, 1 + below(2));
  let committed = 0;
  for (let number = first + 1; number <= first + RACES_PER_RUN; number++) {
    const base = committed + 1;
    await old.send(base);
    await Promise.all(old.crew.map((upload) => upload.ack()));
    const steps = [base, base + 1, base + 2];
    const lineages = [naive.fold(valuesOf(old.number, base))];
    for (const step of steps.slice(1))
      lineages.push(new NaiveEma(TENSORS, lineages.at(-1)).fold(valuesOf(old.number, step)));

    const told = old.acknowledged();
    const sending = (async () => {
      for (const step of steps.slice(1)) await old.send(step, below);
    })();
    for (let hops = 0; hops < 2; hops++) await hop(below);
    const { opened, life } = await Life.begin(client, run, number, 1 + below(2));
    committed = Number(opened.committed_step);
    const lineage = lineages[steps.indexOf(committed)];
    counts[steps.indexOf(committed)]! += 1;
    expect(lineage, `life ${number} began at ${committed}, one of ${steps}`).toBeDefined();
    const { header, bytes } = await read(client, { run });
    expect({
      step: Number(header.step),
      updates: Number(header.num_updates),
      generation: Number(header.generation),
    }).toEqual({
      step: committed,
      updates: lineage!.updates,
      generation: old.generation,
    });
    expect(bytes).toEqual(lineage!.bytes);

    // The new life goes on while the old one may still be sending.
    const next = committed + 1;
    await Promise.all([life.send(next, below), sending]);
    await Promise.all(life.crew.map((upload) => upload.ack()));
    for (const step of await told)
      expect(step, 'what was acknowledged is in the history').toBeLessThanOrEqual(committed);
    naive = new NaiveEma(TENSORS, lineage).fold(valuesOf(number, next));
    const after = await read(client, { run });
    expect(after.bytes, `life ${number} at step ${next}`).toEqual(naive.bytes);
    expect(after.header).toMatchObject({ step: next, num_updates: naive.updates, generation: life.generation });
    committed = next;
    old = life;
    if (number % 10 !== 0) continue;
    for (const upload of life.crew) await upload.end();
    const idle = await eventually(async () => {
      const now = await ask(client, 'GetRun', { run });
      return now.writers_connected === 0 ? now.memory : undefined;
    });
    expect(idle).toMatchObject({ staging_bytes: 0, pinned_bytes: 0 });
    expect(idle!.free_bytes, 'a step in flight and one ahead of it').toBeLessThanOrEqual(
      3 * Number(idle!.shadow_bytes),
    );
    old = (await Life.begin(client, run, number, life.crew.length)).life;
  }
}

test(`${RACES} races of two generations around a commit leave one lineage, seed ${SEED}`, {
  timeout: TIMEOUT_MS,
}, async () => {
  console.info(`SHADOWKEEP_SEED=${SEED}`);
  const client = rawClient(await serve());
  const random = randomNumbers(SEED);
  const below: Below = (count) => Math.floor(((random() + 1) / 2) * count);
  const counts = [0, 0, 0];
  const budgetFree = async (): Promise<unknown> => {
    await openRun(client, { ...SMALL, run: 'fresh', tensors: TENSORS });
    const { memory } = await ask(client, 'GetRun', { run: 'fresh' });
    await ask(client, 'DeleteRun', { run: 'fresh' });
    return memory!.budget_free_bytes;
  };
  const free = await budgetFree();
  for (let first = 0; first < RACES; first += RACES_PER_RUN) {
    await race(client, `r${first}`, first, below, counts);
    await ask(client, 'DeleteRun', { run: `r${first}` });
    expect(await budgetFree(), 'the ledger is what it was').toEqual(free);
  }
  console.info(`steps of the old life that were committed: none ${counts[0]}, one ${counts[1]}, both ${counts[2]}`);
  expect(counts.reduce((sum, count) => sum + count)).toBe(RACES);
  expect(Math.min(...counts), 'the race is one').toBeGreaterThan(0);
});
