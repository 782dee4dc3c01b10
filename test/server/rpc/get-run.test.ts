import { describe, expect, test } from 'vitest';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, read } from '../read.js';
import { Upload } from '../upload.js';

describe('GetRun', () => {
  test('a fresh run: its declaration, no step, its memory', async () => {
    const client = rawClient(await serve({ memoryBytes: 64 << 20 }));
    await openRun(client, {
      ...SMALL,
      averages: [...(SMALL.averages ?? []), { name: 'm', start: 'ZEROS', precision: 'F64', mean: {} }],
    });
    const run = await ask(client, 'GetRun');
    expect(run).toMatchObject({
      run: 'r',
      generation: 1,
      tensors: [{ name: 'w', dtype: 'F32', shape: [4], policy: 'AVERAGE' }],
      averages: [
        { name: 'ema', start: 'FIRST', precision: 'F32', constant: { decay: 0.5 } },
        { name: 'm', start: 'ZEROS', precision: 'F64', mean: {} },
      ],
      states: [
        { name: 'ema', num_updates: 0 },
        { name: 'm', num_updates: 0 },
      ],
      tensor_count: 1,
      averaged_elements: 4,
      writers_connected: 0,
      readers_connected: 0,
      commits: 0,
      bytes_received: 0,
      bytes_sent: 0,
      commits_per_second: 0,
      received_bytes_per_second: 0,
    });
    for (const absent of ['committed_step', 'durable_step', 'staging_step', 'since_commit_ms'])
      expect(run).not.toHaveProperty(absent);
    const { layout_bytes: layoutBytes = 0 } = run.memory!;
    expect(layoutBytes).toBeGreaterThan(0);
    expect(run.memory).toEqual({
      layout_bytes: layoutBytes,
      shadow_bytes: 8_192,
      staging_bytes: 0,
      pinned_bytes: 0,
      free_bytes: 0,
      snapshot_bytes: 0,
      // The budget includes that of the transport, which is reserved from the start.
      budget_bytes: (64 + 32) << 20,
      budget_free_bytes: (64 << 20) - 2 * 8_192 - layoutBytes,
    });
  });

  test('what is under way and what has been: streams, staged bytes, commits, rates', async () => {
    const client = rawClient(await serve());
    const { generation } = await openRun(client);
    const upload = new Upload(client).open(generation);
    for (let step = 1; step <= 3; step++) await upload.push(step, f32Space([1, 2, 3, 4])).ack();
    upload.chunk(4, 0, Buffer.alloc(48));
    const run = await eventually(async () => {
      const now = await ask(client, 'GetRun');
      return now.staging_bytes === 48 ? now : undefined;
    });
    expect(run).toMatchObject({
      committed_step: 3,
      staging_step: 4,
      writers_connected: 1,
      commits: 3,
      bytes_received: 3 * 64 + 48,
      states: [{ name: 'ema', num_updates: 3, weight: 0.5 }],
      memory: { staging_bytes: 4_096 },
    });
    expect(run.commits_per_second).toBeGreaterThan(0);
    expect(run.received_bytes_per_second / run.commits_per_second).toBeCloseTo(64, 6);
    expect(run.since_commit_ms).toBeGreaterThanOrEqual(0);
    await read(client);
    await upload.end();
    expect(await ask(client, 'GetRun')).toMatchObject({
      bytes_sent: 64,
      writers_connected: 0,
      staging_bytes: 0,
      memory: { staging_bytes: 0 },
    });
  });

  test('an unknown run', async () => {
    const client = rawClient(await serve());
    const metadata = await expectError(ask(client, 'GetRun'), 'NOT_FOUND', 'RUN_NOT_FOUND', /^run "r" does not exist$/);
    expect(metadata).toEqual({ run: 'r' });
  });
});
