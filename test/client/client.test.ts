import { describe, expect, test } from 'vitest';
import { averageEma, averageMean, connect, ShadowkeepError } from '../../src/client/index.js';
import { expectedEma, randomNumbers } from '../support/expected-ema.js';
import { asF32, connectTo, f32, failureOf, startPeer, startService } from './support.js';

const SEED = 7;
const EMA = averageEma('ema', { decay: 0.9, start: 'INITIAL' });
const SMALL = { run: 'r', tensors: [{ name: 'w', dtype: 'F32', shape: [2] }], averages: [EMA] } as const;

function randomF32(count: number, random: () => number): Float32Array {
  return Float32Array.from({ length: count }, random);
}

describe('push and read', () => {
  test('the EMA that comes back is the textbook one, whatever the tensor sizes', async () => {
    const { client } = await startService();
    const random = randomNumbers(SEED);
    // Lengths around the alignment of 64 bytes (16 float32) and the chunk of 1 MiB (262,144 float32).
    const counts = [1, 15, 16, 17, 262_143, 262_144, 300_001, 0];
    const tensors = counts.map((count, index) => ({ name: `t${index}`, dtype: 'F32' as const, shape: [count] }));
    const steps = [0, 1, 2, 3].map(() => counts.map((count) => randomF32(count, random)));
    const named = (step: number) => new Map(steps[step]!.map((values, index) => [`t${index}`, values]));

    const run = await client.openRun({ run: 'sizes', tensors, averages: [EMA] });
    expect(run.created).toBe(true);
    expect(run.stepBytes).toBe(counts.reduce((sum, count) => sum + Math.ceil((count * 4) / 64) * 64, 0));
    await run.pushInitial(0, named(0));
    for (const step of [1, 2, 3]) await run.update(step, named(step)).sent;
    await run.flush();
    expect(run.committedStep).toBe(3);
    const shadow = await client.getShadow({ run: 'sizes' });
    await run.close();

    expect(shadow).toMatchObject({ run: 'sizes', average: 'ema', step: 3, numUpdates: 3 });
    for (const [index, count] of counts.entries()) {
      const { data, shape, dtype, averaged } = shadow.tensors.get(`t${index}`)!;
      expect({ shape, dtype, averaged }).toEqual({ shape: [count], dtype: 'F32', averaged: true });
      expect(data.byteOffset % 64).toBe(0);
      const updates = [1, 2, 3].map((step) => steps[step]![index]!);
      const expected = expectedEma(steps[0]![index]!, updates, 0.9);
      const values = asF32(data);
      expect(values).toHaveLength(count);
      // Three folds, each with three roundings in float32.
      values.forEach((value, at) => {
        if (!(Math.abs(value - expected[at]!) <= 9 * 2 ** -24)) expect(value).toBe(expected[at]);
      });
    }
  });

  test('several averages, copied tensors, a cast, a choice of names', async () => {
    const { client } = await startService();
    const run = await client.openRun({
      run: 'mixed',
      tensors: [
        { name: 'layer.w', dtype: 'F32', shape: [2] },
        { name: 'layer.count', dtype: 'I64', shape: [] },
        { name: 'frozen', dtype: 'F32', shape: [1], policy: 'IGNORE' },
        { name: 'head', dtype: 'F64', shape: [1] },
      ],
      averages: [averageEma('ema', { decay: 0.5, start: 'FIRST' }), averageMean('mean', { precision: 'F64' })],
    });
    for (const step of [1, 2, 3]) {
      await run.update(step, {
        'layer.w': f32(step, -step),
        'layer.count': BigInt64Array.of(BigInt(step)),
        head: Float64Array.of(10 * step),
      });
    }
    await run.close();
    const ema = await client.getShadow({ run: 'mixed', average: 'ema' });
    expect([...ema.tensors.keys()].sort()).toEqual(['head', 'layer.count', 'layer.w']);
    expect(asF32(ema.tensors.get('layer.w')?.data)).toEqual([2.25, -2.25]);
    expect(ema.tensors.get('layer.count')).toMatchObject({ dtype: 'I64', shape: [], averaged: false });
    expect(Buffer.from(ema.tensors.get('layer.count')!.data).readBigInt64LE()).toBe(3n);
    const mean = await client.getShadow({ run: 'mixed', average: 'mean', names: ['layer.*'], dtype: 'BF16' });
    expect([...mean.tensors.keys()].sort()).toEqual(['layer.count', 'layer.w']);
    expect(Buffer.from(mean.tensors.get('layer.w')!.data).toString('hex')).toBe('004000c0');
    expect(await failureOf(client.getShadow({ run: 'mixed' }))).toMatchObject({ reason: 'AVERAGE_NOT_FOUND' });
  });

  test('averaged tensors travel in the wire dtype', async () => {
    const { client } = await startService();
    const run = await client.openRun({ ...SMALL, wireDtype: 'BF16' });
    expect(run.stepBytes).toBe(64);
    const bf16 = (...values: number[]) =>
      new Uint16Array(values.map((value) => new Uint32Array(f32(value).buffer)[0]! >>> 16));
    await run.pushInitial(0, { w: bf16(1, 2) });
    expect(() => run.update(1, { w: f32(1, 2) })).toThrow('tensor "w" has 8 bytes, BF16 of shape [2] needs 4');
    await run.close();
    expect(asF32((await client.getShadow({ run: 'r' })).tensors.get('w')?.data)).toEqual([1, 2]);
  });

  test('a target without a port is refused before it is dialled', () => {
    expect(() => connect('127.0.0.1')).toThrow(
      expect.objectContaining({
        reason: 'INVALID_FIELD',
        message: 'target must be HOST:PORT with a port from 1 to 65535, got "127.0.0.1"',
      }),
    );
  });

  test('without checksums too', async () => {
    const { target } = await startService();
    const client = connectTo(target, { checksums: false });
    const run = await client.openRun(SMALL);
    await run.pushInitial(0, { w: f32(1, 2) });
    await run.close();
    expect(asF32((await client.getShadow({ run: 'r' })).tensors.get('w')?.data)).toEqual([1, 2]);
  });
});

describe('unary calls', () => {
  test('describe, list and delete a run', async () => {
    const { client } = await startService();
    expect(await client.listRuns()).toEqual([]);
    const run = await client.openRun(SMALL);
    await run.pushInitial(5, { w: f32(1, 2) });
    const info = await client.getRun('r');
    expect(info).toMatchObject({
      run: 'r',
      committedStep: 5,
      tensors: [{ name: 'w', dtype: 'F32', shape: [2], policy: 'AVERAGE' }],
      averages: [{ name: 'ema', schedule: { kind: 'constant', decay: 0.9 }, start: 'INITIAL', delayUpdates: 0 }],
      states: [{ name: 'ema', numUpdates: 0 }],
      tensorCount: 1,
      averagedElements: 2,
      writersConnected: 1,
      commits: 1,
      bytesReceived: 64,
    });
    expect(info.memory.budgetBytes).toBe((256 + 32) << 20);
    expect((await client.listRuns()).map(({ run: name, tensors }) => ({ name, tensors }))).toEqual([
      { name: 'r', tensors: [] },
    ]);
    const { freedBytes } = await client.deleteRun('r');
    expect(freedBytes).toBeGreaterThan(0);
    expect(await failureOf(client.getRun('r'))).toMatchObject({ reason: 'RUN_NOT_FOUND', code: 'NOT_FOUND' });
    expect(await failureOf(run.flush())).toMatchObject({ reason: 'RUN_DELETED' });
  });

  test('what getRun gives opens the run again', async () => {
    const { client } = await startService();
    const first = await client.openRun(SMALL);
    await first.close();
    const { tensors, averages } = await client.getRun('r');
    const again = await client.openRun({ run: 'r', tensors, averages });
    expect({ created: again.created, generation: again.generation }).toEqual({
      created: false,
      generation: first.generation,
    });
    await again.close();
  });

  test('another layout is refused with the first difference', async () => {
    const { client } = await startService();
    await (await client.openRun(SMALL)).close();
    const failure = await failureOf(client.openRun({ ...SMALL, tensors: [{ name: 'w', dtype: 'F32', shape: [3] }] }));
    expect(failure).toBeInstanceOf(ShadowkeepError);
    expect(failure).toMatchObject({ reason: 'LAYOUT_MISMATCH', code: 'FAILED_PRECONDITION', permanent: true });
    expect(failure.message).toContain('"w"');
  });
});

describe('a client', () => {
  test('gives up on a call without an answer after its deadline', async () => {
    const { target } = await startPeer({ GetRun: () => {} });
    const client = connectTo(target, { deadlineMs: 100 });
    expect(await failureOf(client.getRun('r'))).toMatchObject({ code: 'DEADLINE_EXCEEDED', permanent: false });
  });

  test('that is closed starts nothing more', async () => {
    const { client, target } = await startService();
    const run = await client.openRun(SMALL);
    client.close();
    for (const call of [client.getRun('r'), client.getShadow({ run: 'r' }), client.openRun(SMALL)]) {
      expect(await failureOf(call)).toMatchObject({ code: 'FAILED_PRECONDITION', message: 'the client is closed' });
    }
    await run.pushInitial(1, { w: f32(1, 2) });
    await run.close();
    expect((await connectTo(target).getRun('r')).committedStep).toBe(1);
  });
});

test('what the encoder would send as something else is refused before it leaves', async () => {
  const { client } = await startService();
  for (const wrong of [
    { trainerStep: -1 },
    { writers: 1.5 },
    { writer: 0.5, writers: 2 },
    { nonFinite: 'KEEP' as never },
  ]) {
    expect(await failureOf(client.openRun({ ...SMALL, run: 'wrong', ...wrong }))).toMatchObject({
      reason: 'INVALID_FIELD',
    });
  }
  const run = await client.openRun({ ...SMALL, averages: [averageMean('ema')] });
  for (const step of [-1, 1.5, Number.NaN]) {
    expect(() => run.update(step, { w: f32(1, 2) })).toThrow(
      `step must be an integer from 0 to 9007199254740991, got ${step}`,
    );
  }
  await run.update(1, { w: f32(1, 2) });
  expect(await failureOf(client.getShadow({ run: 'r', step: 0.5 }))).toMatchObject({ reason: 'INVALID_FIELD' });
  expect((await client.getShadow({ run: 'r' })).step).toBe(1);
  await run.close();
});
