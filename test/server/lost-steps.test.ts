import { expect, test } from 'vitest';
import { NaiveEma, openCrew, TENSORS, type TestBox } from './crew.js';
import { ask, eventually, rawClient, serve } from './harness.js';
import { read } from './read.js';
import { Upload } from './upload.js';
import { openWorld, spaceOf, TWO, valuesOf } from './world-of-two.js';

const [mine, other] = TWO as [TestBox[], TestBox[]];

async function twoAtStep1(): Promise<{ client: ReturnType<typeof rawClient>; generation: number; crew: Upload[] }> {
  // The timeouts are so long that a step which waits for them exceeds the test's own timeout.
  const client = rawClient(await serve({ stepTimeoutMs: 3_600_000, reconnectGraceMs: 3_600_000 }));
  const generation = await openWorld(client, 2);
  const crew = await openCrew(client, generation, TWO);
  for (const [writer, upload] of crew.entries()) upload.push(1, spaceOf(TWO[writer]!, 1));
  for (const upload of crew) expect(await upload.ack()).toMatchObject({ step: 1, state: 'COMMITTED' });
  return { client, generation, crew };
}

test.each([
  ['further on', 0],
  ['less far', 1],
])('two writers come back at different steps, the one that is %s first', async (_, first) => {
  const { client, crew } = await twoAtStep1();
  const send = [
    () => crew[0]!.lost(7).push(8, spaceOf(mine, 8)),
    () => crew[1]!.lost(6).push(7, spaceOf(other, 7)).push(8, spaceOf(other, 8)),
  ];
  send[first]!();
  await eventually(async () => ((await ask(client, 'GetRun')).writer_states[first]?.step === 8 ? true : undefined));
  send[1 - first]!();
  expect(await crew[1]!.ack()).toMatchObject({
    step: 7,
    state: 'DROPPED',
    committed_step: 1,
    detail: 'writer 0 has lost it',
    lost_by: 0,
  });
  expect([await crew[0]!.ack(), await crew[1]!.ack()]).toMatchObject(Array(2).fill({ step: 8, state: 'COMMITTED' }));
  const { header, bytes } = await read(client);
  expect(header).toMatchObject({ step: 8, num_updates: 2 });
  expect(bytes).toEqual(new NaiveEma(TENSORS).fold(valuesOf(1)).fold(valuesOf(8)).bytes);
});

test('what a writer has sent is decided before its loss counts; who is in the middle of a lost step goes on', async () => {
  const { client, generation, crew } = await twoAtStep1();
  const [ahead, behind] = crew as [Upload, Upload];
  ahead.push(2, spaceOf(mine, 2)).lost(4).push(5, spaceOf(mine, 5));
  behind.push(2, spaceOf(other, 2));
  for (const upload of crew) expect(await upload.ack()).toMatchObject({ step: 2, state: 'COMMITTED' });
  behind.chunk(3, 0, spaceOf(other, 3).subarray(0, 64));
  // The connection breaks in the middle of the lost step, and the new stream goes on there.
  await eventually(async () =>
    (await ask(client, 'GetRun')).writer_states[1]?.received_bytes === 64 ? true : undefined,
  );
  behind.break();
  const back = new Upload(client).open(generation, { writer: 1, boxes: other, takeover: true });
  expect(await back.opened()).toMatchObject({ step: 3, received_bytes: 64, committed_step: 2 });
  back.chunk(3, 64, spaceOf(other, 3).subarray(64)).commit(3, 128).push(5, spaceOf(other, 5));
  expect(await back.ack()).toMatchObject({ step: 3, state: 'DROPPED', lost_by: 0 });
  expect([await ahead.ack(), await back.ack()]).toMatchObject(Array(2).fill({ step: 5, state: 'COMMITTED' }));
});
