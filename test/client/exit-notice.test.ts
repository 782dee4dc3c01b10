import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { eventually, startService } from './support.js';

const CLIENT = fileURLToPath(new URL('../../dist/client/index.js', import.meta.url));

/** Starts a script that opens a run. */
function startScript(target: string, body: string) {
  const script = `
    import { averageMean, connect } from ${JSON.stringify(CLIENT)};
    const client = connect(${JSON.stringify(target)});
    const w = new Float32Array(1 << 20);
    const tensors = [{ name: 'w', dtype: 'F32', shape: [w.length] }];
    const run = await client.openRun({ run: 'r', tensors, averages: [averageMean('m')] });
    ${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const ended = new Promise<{ code: number | null; stderr: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, stderr })),
  );
  return { child, ended };
}

test.each([
  ['process.exit', 'run.update(3, { w }); process.exit(0);', 0, /ends and step 3 of run "r" may be lost: close\(\)/],
  [
    'process.exit, of several',
    'for (const step of [3, 4, 7]) run.update(step, { w }); process.exit(0);',
    0,
    /3 steps from 3 to 7/,
  ],
  [
    'an exception',
    'run.update(3, { w }); throw new Error("mine");',
    1,
    /step 3 of run "r" may be lost.*\n.*\n.*throw new Error/,
  ],
])('a process that ends by %s says what it takes along', async (_, body, code, stderr) => {
  const { target } = await startService();
  expect(await startScript(target, body).ended).toEqual({ code, stderr: expect.stringMatching(stderr) });
});

test.each([
  ['closed', 'run.update(3, { w }); await run.close(); client.close(); process.exit(0);'],
  ['acknowledged', 'await run.update(3, { w }); process.exit(0);'],
  ['given up', 'run.update(3, { w }).catch(() => {}); run.abort(); process.exit(0);'],
])('a process that ends when its steps are %s says nothing', async (_, body) => {
  const { target } = await startService();
  expect(await startScript(target, body).ended).toEqual({ code: 0, stderr: '' });
});

test('a script that comes to its end with a run open loses nothing, and ends when it is closed', async () => {
  const { client, target } = await startService();
  const body = "process.once('SIGUSR2', () => run.close()); run.update(3, { w });";
  const { child, ended } = startScript(target, body);
  await eventually(async () => (await client.listRuns())[0]?.committedStep).toBe(3);
  child.kill('SIGUSR2');
  expect(await ended).toEqual({ code: 0, stderr: '' });
});
