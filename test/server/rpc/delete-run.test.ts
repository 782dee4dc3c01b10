import { describe, expect, test } from 'vitest';
import { expectError } from '../expect-error.js';
import { ask, eventually, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space, f32Values, read } from '../read.js';
import { Upload } from '../upload.js';

describe('DeleteRun', () => {
  test('gives the memory back, once', async () => {
    const client = rawClient(await serve({ memoryBytes: 64 << 20 }));
    await openRun(client, { ...SMALL, run: 'other' });
    const free = (await ask(client, 'GetRun', { run: 'other' })).memory?.budget_free_bytes;
    const { generation } = await openRun(client);
    await new Upload(client)
      .open(generation)
      .push(1, f32Space([1, 2, 3, 4]))
      .ack();
    const layoutBytes = (await ask(client, 'GetRun')).memory?.layout_bytes ?? 0;
    expect(layoutBytes).toBeGreaterThan(0);
    expect((await ask(client, 'DeleteRun')).freed_bytes).toBe(2 * 8_192 + layoutBytes);
    await expectError(ask(client, 'DeleteRun'), 'NOT_FOUND', 'RUN_NOT_FOUND', /^run "r" does not exist$/);
    expect((await ask(client, 'GetRun', { run: 'other' })).memory?.budget_free_bytes).toBe(free);
    await expectError(read(client), 'NOT_FOUND', 'RUN_NOT_FOUND', /"r"/);
  });

  test('its writer, its reader, who waits for a step and who watches are told', async () => {
    const server = await serve();
    const client = rawClient(server);
    const { generation } = await openRun(client, {
      ...SMALL,
      tensors: [{ name: 'w', dtype: 'F32', shape: [1 << 20] }],
    });
    const step = Buffer.alloc(1 << 22);
    const upload = new Upload(client).open(generation);
    for (const offset of [0, 1, 2, 3]) upload.chunk(1, offset << 20, step.subarray(offset << 20, (offset + 1) << 20));
    await upload.commit(1, step.length).ack();
    upload.chunk(2, 0, step.subarray(0, 64));
    const watch = client.watchRun({ run: 'r' });
    await new Promise((resolve) => watch.once('data', resolve));
    const watched = new Promise((_, reject) => watch.on('error', reject));
    const waiting = read(client, { min_step: 9, wait_ms: 60_000 });
    // This reader has begun and does not read on. Its chunks are small, so that most of them are still to come.
    const reading = rawClient(server, { 'grpc-node.flow_control_window': 1 << 16 }).getShadow({
      run: 'r',
      chunk_bytes: 4_096,
    });
    await new Promise((resolve) => reading.once('readable', resolve));
    await eventually(async () => ((await ask(client, 'GetRun')).readers_connected === 2 ? true : undefined));
    const isTold = (failing: Promise<unknown>): Promise<unknown> =>
      expectError(failing, 'ABORTED', 'RUN_DELETED', /^run "r" was deleted$/);
    const told = [upload.failure(), watched, waiting].map(isTold);
    await ask(client, 'DeleteRun');
    // The reader that stands still hears of the deletion when it reads on.
    told.push(isTold(new Promise((_, reject) => reading.on('error', reject).resume())));
    await Promise.all(told);
  });

  test('during a fold: the writer is told, and the name is free for another run', async () => {
    const client = rawClient(await serve());
    const elements = 1 << 22;
    const large = { ...SMALL, tensors: [{ name: 'w', dtype: 'F32' as const, shape: [elements] }] };
    const { generation } = await openRun(client, large);
    const upload = new Upload(client).open(generation);
    const chunk = Buffer.alloc(1 << 20);
    for (let offset = 0; offset < elements * 4; offset += chunk.length) upload.chunk(1, offset, chunk);
    await eventually(async () => ((await ask(client, 'GetRun')).staging_bytes === elements * 4 ? true : undefined));
    upload.commit(1, elements * 4);
    const deleted = ask(client, 'DeleteRun');
    // Either the step is committed or the run is gone, whichever comes first. INTERNAL would be a bug.
    const outcome = await upload.ack().then(
      ({ state }) => state,
      (error: Error) => error.message,
    );
    expect(outcome).toMatch(/^COMMITTED$|run "r" was deleted$/);
    await deleted;
    const again = await openRun(client, { ...SMALL });
    expect(again).toMatchObject({ created: true, generation: generation + 1 });
    await new Upload(client)
      .open(again.generation)
      .push(1, f32Space([1, 2, 3, 4]))
      .ack();
    expect(f32Values((await read(client)).bytes, 4)).toEqual([1, 2, 3, 4]);
  });
});
