import { describe, expect, test } from 'vitest';
import { averageEma, type OpenRunOptions } from '../../src/client/index.js';
import { f32, startService } from './support.js';

const TENSORS = [
  { name: 'w', dtype: 'F32', shape: [2] },
  { name: 'frozen', dtype: 'F32', shape: [1], policy: 'COPY_ONCE' },
  { name: 'b', dtype: 'F32', shape: [20] },
  { name: 'gone', dtype: 'F32', shape: [4], policy: 'IGNORE' },
  { name: 'empty', dtype: 'F32', shape: [0] },
  { name: 'count', dtype: 'I64', shape: [1] },
] as const satisfies OpenRunOptions['tensors'];

const AVERAGES = [averageEma('ema', { decay: 0.5, start: 'FIRST' })];

const stepOf = (value: number) => ({
  w: f32(value, value + 1),
  frozen: f32(7),
  b: new Float32Array(20).fill(value + 2),
  empty: f32(),
  count: new BigInt64Array([BigInt(value)]),
});

describe('a layout in another order than the run’s', () => {
  const options = { run: 'r', tensors: TENSORS, averages: AVERAGES };
  const reversed = { ...options, tensors: TENSORS.toReversed() };

  test('attaches, pushes its own order and goes on where the other one ended', async () => {
    const { client } = await startService();
    const first = await client.openRun(options);
    await first.update(1, stepOf(10));
    await first.close();
    const second = await client.openRun(reversed);
    expect(second.created).toBe(false);
    await second.update(2, stepOf(20));
    await second.close();
    const { tensors, step } = await client.getShadow({ run: 'r' });
    expect(step).toBe(2);
    // Each tensor has values of its own, so that a tensor in another's place shows.
    expect(Object.fromEntries([...tensors].map(([name, { data }]) => [name, data.toString()]))).toEqual(
      Object.fromEntries(
        Object.entries({ ...stepOf(15), count: new BigInt64Array([20n]) }).map(([name, { buffer }]) => [
          name,
          new Uint8Array(buffer).toString(),
        ]),
      ),
    );
    expect((await client.getRun('r')).tensors.map(({ name }) => name)).toEqual(TENSORS.map(({ name }) => name));
  });

  test('brings the tensors that are sent once with its first step', async () => {
    const { client } = await startService();
    await (await client.openRun(options)).close();
    const run = await client.openRun(reversed);
    await run.update(1, stepOf(3));
    await run.close();
    const { tensors } = await client.getShadow({ run: 'r' });
    expect([...new Float32Array(tensors.get('frozen')!.data.slice().buffer)]).toEqual([7]);
    expect([...new Float32Array(tensors.get('w')!.data.slice().buffer)]).toEqual([3, 4]);
  });

  test('may be one writer’s of several, with boxes', async () => {
    const { client } = await startService();
    const rest = ['frozen', 'b', 'count'].map((tensor) => ({ tensor }));
    const halves = [[{ tensor: 'w', offset: [0], extent: [1] }, ...rest], [{ tensor: 'w', offset: [1], extent: [1] }]];
    const runs = await Promise.all(
      [options, reversed].map((each, writer) =>
        client.openRun({ ...each, writers: 2, writer, boxes: halves[writer], incarnation: 'i' }),
      ),
    );
    const { frozen, b, count } = stepOf(5);
    await Promise.all([runs[0]!.update(1, [f32(5), frozen, b, count]), runs[1]!.update(1, [f32(6)])]);
    await Promise.all(runs.map((run) => run.close()));
    const { tensors } = await client.getShadow({ run: 'r' });
    expect([...new Float32Array(tensors.get('w')!.data.slice().buffer)]).toEqual([5, 6]);
  });

  test('of other tensors is another model', async () => {
    const { client } = await startService();
    await (await client.openRun(options)).close();
    const tensors = reversed.tensors.map((tensor) => (tensor.name === 'b' ? { ...tensor, shape: [21] } : tensor));
    await expect(client.openRun({ ...options, tensors })).rejects.toThrow(
      'tensor 2 "b" has shape [20], [21] in the request',
    );
  });
});

test('a layout of the most tensors with the longest names is opened, described, pushed and read', async () => {
  const { client } = await startService({ memoryBytes: 512 << 20 });
  const tensors = Array.from({ length: 65_536 }, (_, index) => ({
    name: `${index}`.padStart(512, 'n'),
    dtype: 'F32' as const,
    shape: [],
    policy: index % 1_024 === 0 ? ('AVERAGE' as const) : ('IGNORE' as const),
  }));
  const run = await client.openRun({ run: 'r', tensors, averages: AVERAGES });
  const sent = tensors.filter(({ policy }) => policy === 'AVERAGE');
  await run.update(1, new Map(sent.map(({ name }, index) => [name, f32(index)])));
  await run.close();
  expect((await client.getRun('r')).tensors).toEqual(tensors);
  const shadow = await client.getShadow({ run: 'r' });
  expect(shadow.parts.map(({ data }) => new Float32Array(data.slice().buffer)[0])).toEqual(
    sent.map((_, index) => index),
  );
});
