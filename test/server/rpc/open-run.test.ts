import { describe, expect, test } from 'vitest';
import type { OpenRunRequest } from '../../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import { expectError, pictureOf } from '../expect-error.js';
import { ask, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space } from '../read.js';
import { Upload } from '../upload.js';

describe('OpenRun', () => {
  test('creates a run, and tells the limits and the length of a step', async () => {
    const client = rawClient(await serve({ stepTimeoutMs: 1_234, reconnectGraceMs: 5_678 }));
    expect(await openRun(client)).toEqual({
      run: 'r',
      generation: 1,
      _first_generation: 'first_generation',
      first_generation: 1,
      created: true,
      limits: { chunk_bytes: 1_048_576, chunk_bytes_max: 4_190_208, step_timeout_ms: 1_234, reconnect_grace_ms: 5_678 },
      step_bytes: 64,
      first_step_bytes: 64,
      writers: 1,
      retained_steps: [],
      tensor_order: [],
    });
  });

  test('the same request gets the same run, and where it stands', async () => {
    const client = rawClient(await serve());
    const request = { ...SMALL, incarnation: 'one' };
    const first = await openRun(client, request);
    const again = await openRun(client, request);
    expect(again).toEqual({ ...first, created: false });
    await new Upload(client)
      .open(first.generation)
      .push(3, f32Space([1, 2, 3, 4]))
      .ack();
    expect(await openRun(client, request)).toMatchObject({
      generation: first.generation,
      created: false,
      committed_step: 3,
    });
  });

  test('a new life of the trainer gets a higher generation and ends the stream of the old one', async () => {
    const client = rawClient(await serve());
    const old = await openRun(client, { ...SMALL, incarnation: 'old' });
    const upload = new Upload(client).open(old.generation).push(1, f32Space([1, 1, 1, 1]));
    await upload.ack();
    upload.chunk(2, 0, Buffer.alloc(32));
    const young = await openRun(client, { ...SMALL, incarnation: 'new' });
    expect(young).toMatchObject({ generation: old.generation + 1, created: false, committed_step: 1 });
    await expectError(
      upload.failure(),
      'ABORTED',
      'GENERATION_FENCED',
      /^generation 2 of run "r" has begun: another trainer has taken over after step 1, and .*: end it, or give it a run of its own$/,
    );
    await expectError(
      openRun(client, { ...SMALL, incarnation: 'old' }),
      'ABORTED',
      'GENERATION_FENCED',
      /^generation 1 of run "r" was fenced, 2 is open: another trainer/,
    );
    await expectError(
      new Upload(client).open(old.generation).failure(),
      'ABORTED',
      'GENERATION_FENCED',
      /generation 1 of run "r"/,
    );
    await expectError(
      new Upload(client).open(99).failure(),
      'FAILED_PRECONDITION',
      'GENERATION_UNKNOWN',
      /no generation 99, 2 is open/,
    );
    expect(
      (
        await new Upload(client)
          .open(young.generation)
          .push(2, f32Space([3, 3, 3, 3]))
          .ack()
      ).state,
    ).toBe('COMMITTED');
  });

  test('without a name of its life a client takes part in the present generation', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client, { ...SMALL, incarnation: 'one' });
    const upload = new Upload(client).open(generation);
    await upload.next();
    expect((await openRun(client)).generation).toBe(generation);
    expect((await upload.push(1, f32Space([1, 1, 1, 1])).ack()).state).toBe('COMMITTED');
  });

  test('policies and precisions have their defaults, and saying them is the same request', async () => {
    const client = rawClient(await serve());
    const averages = [{ name: 'ema', start: 'FIRST', constant: { decay: 0.5 } }] as const;
    await openRun(client, {
      run: 'r',
      tensors: [
        { name: 'w', dtype: 'BF16', shape: [4] },
        { name: 'n', dtype: 'I64', shape: [] },
      ],
      averages: [...averages],
    });
    const again = await openRun(client, {
      run: 'r',
      tensors: [
        { name: 'w', dtype: 'BF16', shape: [4], policy: 'AVERAGE' },
        { name: 'n', dtype: 'I64', shape: [], policy: 'COPY' },
      ],
      averages: [{ ...averages[0], precision: 'F32', every: 1, decay_unit: 'PER_UPDATE' }],
      writers: 1,
      non_finite: 'REJECT_STEP',
    });
    expect(again.created).toBe(false);
  });

  test('another layout and other averages are refused with the first difference, and nobody is fenced', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation).push(1, f32Space([1, 2, 3, 4]));
    await upload.ack();
    const layout: OpenRunRequest = { ...SMALL, incarnation: 'new', tensors: [{ name: 'w', dtype: 'F32', shape: [5] }] };
    const metadata = await expectError(
      openRun(client, layout),
      'FAILED_PRECONDITION',
      'LAYOUT_MISMATCH',
      /^run "r": tensor 0 "w" has shape \[4\], \[5\] in the request$/,
    );
    expect(metadata).toEqual({ run: 'r', tensor: 'w' });
    await expectError(
      openRun(client, {
        ...SMALL,
        incarnation: 'new',
        averages: [{ name: 'ema', start: 'ZEROS', constant: { decay: 0.5 } }],
      }),
      'FAILED_PRECONDITION',
      'AVERAGES_MISMATCH',
      /^run "r": average "ema" has start "FIRST", "ZEROS" in the request$/,
    );
    expect((await upload.push(2, f32Space([1, 2, 3, 4])).ack()).state).toBe('COMMITTED');
  });

  test('a run over the budget is refused with the three numbers, and takes nothing', async () => {
    const client = rawClient(await serve({ memoryBytes: 64 << 20 }));
    await openRun(client);
    const before = await pictureOf(client);
    const large: OpenRunRequest = { ...SMALL, run: 'large', tensors: [{ name: 'w', dtype: 'F32', shape: [2 ** 23] }] };
    const metadata = await expectError(
      openRun(client, large),
      'RESOURCE_EXHAUSTED',
      'MEMORY_EXHAUSTED',
      /^run "large" with one step in flight needs \d+ bytes, \d+ of the server's 100663296 are free$/,
    );
    // The run asks for 32 MiB of shadow and 32 MiB of a step, with 4 KiB of room for each MiB.
    expect(metadata).toMatchObject({ askedBytes: String(64 * (2 ** 20 + 4_096)), totalBytes: String(96 * 2 ** 20) });
    expect(await pictureOf(client)).toEqual(before);
    expect((await ask(client, 'ListRuns', {})).runs.map(({ run }) => run)).toEqual(['r']);
  });
});
