import { describe, expect, test } from 'vitest';
import {
  averageEma,
  averageMean,
  type BoxSpec,
  type OpenRunOptions,
  type RunHandle,
  type ShadowkeepClient,
} from '../../src/client/index.js';
import { randomNumbers } from '../support/expected-ema.js';
import { cutBox } from './box-arrays.js';
import { asF32, eventually, f32, failureOf, startService } from './support.js';

const SEED = 11;
const DECAY = 0.5;

const TENSORS = [
  { name: 'w', dtype: 'F32', shape: [7, 5] },
  { name: 'bias', dtype: 'F32', shape: [33] },
  { name: 'deep', dtype: 'F32', shape: [3, 4, 2] },
  { name: 'frozen', dtype: 'F32', shape: [6], policy: 'COPY_ONCE' },
  { name: 'empty', dtype: 'F32', shape: [0, 4] },
] as const satisfies OpenRunOptions['tensors'];

type Weights = Record<(typeof TENSORS)[number]['name'], Float32Array>;

/**
 * The boxes of three writers: uneven columns, a box inside a tensor, empty boxes, a replica, a divided frozen tensor.
 */
const BOXES: readonly (readonly BoxSpec[])[] = [
  [
    { tensor: 'frozen', offset: [0], extent: [2] },
    { tensor: 'w', offset: [0, 0], extent: [7, 2] },
    { tensor: 'bias', replicaGroup: 1 },
    { tensor: 'deep', offset: [0, 1, 0], extent: [3, 2, 1] },
    { tensor: 'deep', offset: [0, 1, 1], extent: [3, 2, 1] },
  ],
  [
    { tensor: 'bias', replicaGroup: 1 },
    { tensor: 'w', offset: [0, 2], extent: [3, 3] },
    { tensor: 'w', offset: [7, 2], extent: [0, 3] },
    { tensor: 'deep', offset: [0, 0, 0], extent: [3, 1, 2] },
  ],
  [
    { tensor: 'w', offset: [3, 2], extent: [4, 3] },
    { tensor: 'empty' },
    { tensor: 'deep', offset: [0, 3, 0], extent: [3, 1, 2] },
    { tensor: 'frozen', offset: [2], extent: [4] },
  ],
];

const RUN = {
  run: 'r',
  tensors: TENSORS,
  averages: [averageEma('ema', { decay: DECAY, start: 'INITIAL' })],
} as const satisfies OpenRunOptions;

/** Random multiples of 1/64 below 1, with which four folds with a decay of ½ are exact in float32. */
function weightsOf(random: () => number): Weights {
  const draw = (shape: readonly number[]) =>
    Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, () => {
      return Math.round(random() * 64) / 64;
    });
  return Object.fromEntries(TENSORS.map(({ name, shape }) => [name, draw(shape)])) as Weights;
}

function openAll(
  client: ShadowkeepClient,
  options: Omit<OpenRunOptions, 'writers' | 'writer' | 'boxes'>,
  boxes: readonly (readonly BoxSpec[] | undefined)[],
): Promise<RunHandle[]> {
  const writers = boxes.length;
  return Promise.all(boxes.map((own, writer) => client.openRun({ ...options, writers, writer, boxes: own })));
}

function arraysOf(weights: Weights, boxes: readonly BoxSpec[]): Float32Array[] {
  return boxes.map((box) => {
    const { name, shape } = TENSORS.find((tensor) => tensor.name === box.tensor)!;
    return cutBox(weights[name], shape, box);
  });
}

describe('several writers', () => {
  test('push one step together: the shadow is the textbook one, bit for bit', async () => {
    const { client } = await startService();
    const random = randomNumbers(SEED);
    const steps = [0, 1, 2, 3, 4].map(() => weightsOf(random));
    const runs = await openAll(client, RUN, BOXES);
    expect(runs.map(({ writer, writers }) => [writer, writers])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    // Only one of the two members of the group sends the replica, and the frozen parts come last.
    const sent = runs.map(({ parts }) => parts.map(({ boxIndex }) => boxIndex));
    expect(sent.flat()).toHaveLength(12);
    expect(sent[2]).toEqual([0, 1, 2, 3]);
    expect(runs[0]!.parts.at(-1)).toMatchObject({ name: 'frozen', shape: [2], boxOffset: [0], globalShape: [6] });

    for (const [step, weights] of steps.entries()) {
      const data = BOXES.map((boxes) => arraysOf(weights, boxes));
      const acks = await Promise.all(
        runs.map((run, writer) => (step === 0 ? run.pushInitial(0, data[writer]!) : run.update(step, data[writer]!))),
      );
      expect(acks.map(({ state }) => state)).toEqual(['COMMITTED', 'COMMITTED', 'COMMITTED']);
    }
    await Promise.all(runs.map((run) => run.close()));

    const shadow = await client.getShadow({ run: 'r' });
    expect(shadow).toMatchObject({ step: 4, numUpdates: 4 });
    for (const { name } of TENSORS.filter(({ name }) => name !== 'frozen')) {
      const expected = steps
        .slice(1)
        .reduce(
          (before, weights) => before.map((value, at) => DECAY * value + (1 - DECAY) * weights[name][at]!),
          Float64Array.from(steps[0]![name]),
        );
      expect(asF32(shadow.tensors.get(name)?.data)).toEqual([...expected]);
    }
    expect(asF32(shadow.tensors.get('frozen')?.data)).toEqual([...steps[0]!.frozen]);
  });

  test('may leave out what is not sent, read part by part, send nothing, and be ahead of each other', async () => {
    const { client } = await startService();
    const tensors = [
      { name: 'w', dtype: 'F32', shape: [2, 2] },
      { name: 'twin', dtype: 'F32', shape: [2] },
    ] as const;
    const boxes = [
      [
        { tensor: 'w', offset: [0, 0], extent: [2, 1] },
        { tensor: 'twin', replicaGroup: 7 },
      ],
      [
        { tensor: 'w', offset: [0, 1], extent: [2, 1] },
        { tensor: 'twin', replicaGroup: 7 },
      ],
      undefined,
    ];
    const runs = await openAll(client, { run: 'r', tensors, averages: [averageMean('m')] }, boxes);
    const [first, second, idle] = runs as [RunHandle, RunHandle, RunHandle];
    expect(idle.stepBytes).toBe(0);
    const sends = (run: RunHandle) => run.parts.some(({ name }) => name === 'twin');
    expect(runs.filter(sends)).toHaveLength(1);
    const asked: string[] = [];
    const pending = [1, 2].flatMap((step) => [
      first.update(step, [f32(step, step), sends(first) ? f32(7, 7) : undefined]),
      idle.update(step, []),
    ]);
    const late = [1, 2].map((step) =>
      second.update(step, ({ name, boxOffset, shape }) => {
        asked.push(`${name} ${boxOffset} ${shape}`);
        const values = name === 'w' ? f32(-step, -step) : f32(7, 7);
        return [new Uint8Array(values.buffer)];
      }),
    );
    expect((await Promise.all([...pending, ...late])).map(({ state }) => state)).toEqual(Array(6).fill('COMMITTED'));
    expect(asked).toEqual([1, 2].flatMap(() => (sends(second) ? ['w 0,1 2,1', 'twin 0 2'] : ['w 0,1 2,1'])));
    await Promise.all(runs.map((run) => run.close()));
    const { tensors: shadow } = await client.getShadow({ run: 'r' });
    expect(asF32(shadow.get('w')?.data)).toEqual([1.5, -1.5, 1.5, -1.5]);
    expect(asF32(shadow.get('twin')?.data)).toEqual([7, 7]);
  });

  test('skip a step together', async () => {
    const { client } = await startService();
    const runs = await openAll(client, RUN, BOXES);
    const weights = weightsOf(randomNumbers(SEED));
    await Promise.all(runs.map((run, writer) => run.pushInitial(0, arraysOf(weights, BOXES[writer]!))));
    expect((await Promise.all(runs.map((run) => run.skip(1)))).map(({ state }) => state)).toEqual(
      Array(3).fill('SKIPPED'),
    );
    await Promise.all(runs.map((run) => run.close()));
    expect(await client.getShadow({ run: 'r' })).toMatchObject({ step: 1, numUpdates: 0 });
  });
});

const HALVES = [0, 1].map((half): BoxSpec[] => [{ tensor: 'w', offset: [4 * half], extent: [4] }]);
const SMALL = {
  run: 'r',
  tensors: [{ name: 'w', dtype: 'F32', shape: [8] }],
  averages: [averageMean('m')],
} as const satisfies OpenRunOptions;
const half = (value: number) => [new Float32Array(4).fill(value)];

describe('the state of several writers', () => {
  test('names the one that lags, and a step that misses it is dropped for the others', async () => {
    const { client } = await startService({ stepTimeoutMs: 2_000 });
    const [fast, slow] = (await openAll(client, SMALL, HALVES)) as [RunHandle, RunHandle];
    await Promise.all([fast.update(1, half(1)), slow.update(1, half(1))]);
    const pending = fast.update(2, half(2));
    await pending.sent;
    await eventually(async () => (await client.getRun('r')).writerStates[1]?.lagSteps).toBe(1);
    const info = await client.getRun('r');
    expect(info).toMatchObject({ writers: 2, writersConnected: 2, committedStep: 1 });
    expect(info.writerStates).toMatchObject([
      { writer: 0, connected: true, step: 2, lagSteps: 0, stepBytes: 64 },
      { writer: 1, connected: true, step: 1, lagSteps: 1, stepBytes: 64 },
    ]);
    expect(await pending).toMatchObject({ step: 2, state: 'DROPPED', committedStep: 1 });
    expect(fast.droppedSteps).toBe(1);
    const [next, behind] = await Promise.all([fast.update(3, half(3)), slow.update(3, half(3))]);
    expect([next.state, behind.state]).toEqual(['COMMITTED', 'COMMITTED']);
    expect(slow.droppedSteps).toBe(0);
    await Promise.all([fast.close(), slow.close()]);
  });

  test('another number of writers takes over with a new incarnation', async () => {
    const { client } = await startService();
    const before = await openAll(client, { ...SMALL, incarnation: 'a' }, HALVES);
    await Promise.all(before.map((run) => run.update(1, half(1))));
    const alone = await client.openRun({ ...SMALL, incarnation: 'b' });
    expect(alone).toMatchObject({ writers: 1, writer: 0, committedStep: 1 });
    for (const zombie of before) {
      expect(await failureOf(zombie.update(2, half(9)))).toMatchObject({
        reason: 'GENERATION_FENCED',
        code: 'ABORTED',
      });
    }
    expect((await alone.update(2, { w: new Float32Array(8).fill(3) })).state).toBe('COMMITTED');
    await alone.close();
    expect(asF32((await client.getShadow({ run: 'r' })).tensors.get('w')?.data)).toEqual(Array(8).fill(2));
  });

  test('a trainer rewinds to a version that was kept', async () => {
    const { client } = await startService();
    const first = await client.openRun({ ...SMALL, incarnation: 'a', retain: { everySteps: 2, countMax: 2 } });
    for (const step of [1, 2, 3, 4, 5, 6, 7]) await first.update(step, { w: new Float32Array(8).fill(step) });
    await first.close();
    expect(await client.getRun('r')).toMatchObject({
      retain: { everySteps: 2, countMax: 2 },
      retainedSteps: [4, 6],
      committedStep: 7,
    });
    const behind = client.openRun({ ...SMALL, incarnation: 'b', trainerStep: 5 });
    expect(await failureOf(behind)).toMatchObject({ reason: 'TRAINER_BEHIND', code: 'FAILED_PRECONDITION' });
    const nothing = client.openRun({ ...SMALL, incarnation: 'b', trainerStep: 3, resumeStep: 3 });
    expect(await failureOf(nothing)).toMatchObject({ reason: 'VERSION_NOT_FOUND', code: 'NOT_FOUND' });
    const run = await client.openRun({ ...SMALL, incarnation: 'b', trainerStep: 5, resumeStep: 5 });
    expect(run.committedStep).toBe(4);
    expect(run.retainedSteps).toEqual([4]);
    expect((await run.update(5, { w: new Float32Array(8).fill(10) })).state).toBe('COMMITTED');
    await run.close();
    // 4 is the mean of 1, 2, 3, 4 and 10.
    expect(asF32((await client.getShadow({ run: 'r' })).tensors.get('w')?.data)).toEqual(Array(8).fill(4));
  });
});

describe('is refused', () => {
  const PART: BoxSpec = { tensor: 'w', offset: [0], extent: [4] };

  test.each<[string, BoxSpec[][], string, string]>([
    [
      'a gap',
      [[PART], [{ tensor: 'w', offset: [5], extent: [3] }]],
      'BOX_GAP',
      'element [4] of tensor "w" of shape [8] is in no box',
    ],
    [
      'an overlap',
      [[PART], [{ tensor: 'w', offset: [3], extent: [5] }]],
      'BOX_OVERLAP',
      'element [3] of tensor "w" of shape [8] is in 2 boxes',
    ],
    [
      'a replica that is another box',
      [[{ ...PART, replicaGroup: 1 }], [{ tensor: 'w', replicaGroup: 1 }]],
      'BOX_OVERLAP',
      'element [0] of tensor "w" of shape [8] is in 2 boxes',
    ],
  ])('%s, to every writer', async (_, boxes, reason, message) => {
    const { client } = await startService();
    const opening = boxes.map((own, writer) => client.openRun({ ...SMALL, writers: 2, writer, boxes: own }));
    const failures = await Promise.all(opening.map(failureOf));
    for (const failure of failures) {
      expect(failure).toMatchObject({
        reason,
        code: 'FAILED_PRECONDITION',
        message: `run "r": ${message} of its 2 writers`,
      });
    }
  });

  test('a writer that others wait for in vain', async () => {
    const { client } = await startService({ stepTimeoutMs: 200 });
    const failure = await failureOf(client.openRun({ ...SMALL, writers: 3, writer: 1, boxes: [PART] }));
    expect(failure).toMatchObject({
      reason: 'WRITERS_MISSING',
      code: 'DEADLINE_EXCEEDED',
      message: 'run "r": 2 of 3 writers have not declared their boxes for 200 ms: 0, 2',
    });
  });

  test('another number of writers, and a number past them', async () => {
    const { client } = await startService();
    const runs = await openAll(client, SMALL, HALVES);
    expect(await failureOf(client.openRun({ ...SMALL, writers: 3, writer: 2 }))).toMatchObject({
      reason: 'WRITERS_MISMATCH',
      code: 'FAILED_PRECONDITION',
      message: expect.stringMatching(
        /^generation \d+ of run "r" has 2 writers, 3 in the request: another number of writers needs a new incarnation$/,
      ),
    });
    expect(await failureOf(client.openRun({ ...SMALL, writers: 2, writer: 2 }))).toMatchObject({
      reason: 'INVALID_FIELD',
      message: 'open.writer must be an integer from 0 to 1, got 2',
    });
    expect(await failureOf(client.openRun({ ...SMALL, writers: 2, writer: 1, boxes: HALVES[1] }))).toMatchObject({
      reason: 'WRITER_BUSY',
    });
    await Promise.all(runs.map((run) => run.close()));
  });

  test('other boxes than the writer has declared before, in the same generation', async () => {
    const { client } = await startService();
    const runs = await openAll(client, SMALL, HALVES);
    runs[1]!.abort();
    await eventually(async () => (await client.getRun('r')).writersConnected).toBe(1);
    const other = [{ tensor: 'w', offset: [4], extent: [3] }];
    expect(await failureOf(client.openRun({ ...SMALL, writers: 2, writer: 1, boxes: other }))).toMatchObject({
      reason: 'BOXES_CHANGED',
      code: 'FAILED_PRECONDITION',
      message:
        'writer 1 of run "r" declares other boxes than before in this generation: another sharding needs a new incarnation',
    });
    runs[0]!.abort();
  });

  test('a step that the others do not send', async () => {
    const { client } = await startService();
    const [first, second] = (await openAll(client, SMALL, HALVES)) as [RunHandle, RunHandle];
    await Promise.all([first.update(1, half(1)), second.update(1, half(1))]);
    const pending = first.update(2, half(2));
    await eventually(async () => (await client.getRun('r')).writerStates[0]?.step).toBe(2);
    expect(await failureOf(second.update(3, half(3)))).toMatchObject({
      reason: 'STEP_MISMATCH',
      code: 'INVALID_ARGUMENT',
      message: 'writer 1 began step 3 and left out step 2, which another writer sends: all writers send the same steps',
    });
    first.abort();
    expect(await failureOf(pending)).toMatchObject({ code: 'CANCELLED' });
  });

  test('a step with other content than the one that is committed', async () => {
    const { client } = await startService();
    const runs = await openAll(client, SMALL, HALVES);
    await Promise.all(runs.map((run) => run.update(1, half(1))));
    // The writer whose part makes the step whole again gets the error. Which writer that is depends on chance.
    const again = await Promise.allSettled(runs.map((run) => run.update(1, half(2))));
    const failures = again.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    expect(failures).not.toEqual([]);
    for (const failure of failures) {
      expect(failure).toMatchObject({ reason: 'STEP_CONFLICT', code: 'ALREADY_EXISTS', metadata: { step: '1' } });
    }
  });

  test('a box before the service is asked', async () => {
    const { client } = await startService();
    const boxes = [{ tensor: 'w', offset: [4], extent: [5] }];
    expect((await failureOf(client.openRun({ ...SMALL, writers: 2, boxes }))).message).toBe(
      'boxes[0] of tensor "w" has offset 4 and extent 5 in dimension 0, which has 8 elements',
    );
    expect(await client.listRuns()).toEqual([]);
  });
});
