import { expect, test } from 'vitest';
import { ERROR_TABLE } from '../../src/common/index.js';
import { expectError } from '../server/expect-error.js';
import { ask } from '../server/harness.js';
import { AVERAGE_ATTACKS, averageWith } from './averages.js';
import { type Attack, Victim } from './victim.js';

const LONG = 'x'.repeat(10_240);

const RUNS: Attack<object>[] = [
  ...['', '..', '../r', '__proto__', 'r\0'].map(
    (run): Attack<object> => [`run ${JSON.stringify(run)}`, { run }, 'INVALID_NAME', /^run ".*" must match/],
  ),
  ['run of 10 KB', { run: LONG }, 'INVALID_NAME', /^run "x{80}…" has 10240 characters, at most 128/],
  ['an unknown run', { run: 'constructor' }, 'RUN_NOT_FOUND', /^run "constructor" does not exist$/],
];

const ADDITIONS: Attack<object>[] = [
  ...RUNS,
  ['no average', { average: undefined }, 'INVALID_AVERAGE', /^average is required$/],
  ...['', '..', 'a/b', 'a'.repeat(65), '__proto__', LONG].map(
    (name): Attack<object> => [
      `name ${JSON.stringify(name).slice(0, 20)}`,
      { average: averageWith({ name }) },
      'INVALID_NAME',
      /^average\.name ".*" (must match|has \d+ characters, at most 64)/,
    ],
  ),
  [
    'a name that is taken',
    { average: averageWith({ name: 'mean' }) },
    'INVALID_AVERAGE',
    /^average\.name "mean" is taken in run "r"$/,
  ],
  [
    'INITIAL, too late',
    { average: averageWith({ start: 'INITIAL' }) },
    'INITIAL_TOO_LATE',
    /^average "e" starts from INITIAL, run "r" has committed step 1: start it from FIRST or ZEROS$/,
  ],
  ['start 4', { average: averageWith({ start: 4 }) }, 'INVALID_FIELD', /^average\.start must be one of .*, got 4$/],
  ...AVERAGE_ATTACKS.map(
    ([what, rest, reason, text]): Attack<object> => [
      what,
      { average: averageWith(rest) },
      reason,
      new RegExp(`^average${text.source}`),
    ],
  ),
];

const REMOVALS: Attack<object>[] = [
  ...RUNS,
  ...['', 'Mean', '__proto__', 'ema\0'].map(
    (average): Attack<object> => [
      `average ${JSON.stringify(average)}`,
      { average },
      'AVERAGE_NOT_FOUND',
      /^run "r" has no average ".*", it has "ema", "mean"$/,
    ],
  ),
  ['an average of 10 KB', { average: LONG }, 'AVERAGE_NOT_FOUND', /^run "r" has no average "x{80}…", it has/],
];

test.each([
  ['AddAverage', { run: 'r', average: averageWith({}) }, ADDITIONS],
  ['RemoveAverage', { run: 'r', average: 'mean' }, REMOVALS],
] as const)('each field of %sRequest is checked, and the run stays as it is', async (method, valid, attacks) => {
  const victim = await Victim.create();
  for (const [what, change, reason, text] of attacks) {
    const answer = ask(victim.client, method, { ...valid, ...change });
    await expectError(answer, ERROR_TABLE[reason].code, reason, text).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}`, { cause: error });
    });
  }
  await victim.expectUnharmed();
});

test('the 17th average is refused, a removal makes room, and the last one stays', async () => {
  const victim = await Victim.create();
  const names = Array.from({ length: 14 }, (_, index) => `e${index}`);
  for (const name of names) await ask(victim.client, 'AddAverage', { run: 'r', average: averageWith({ name }) });
  const more = { run: 'r', average: averageWith({ name: 'more' }) };
  await expectError(
    ask(victim.client, 'AddAverage', more),
    'INVALID_ARGUMENT',
    'INVALID_AVERAGE',
    /^average of run "r" would be one more than 16$/,
  );
  await ask(victim.client, 'RemoveAverage', { run: 'r', average: 'e3' });
  await ask(victim.client, 'AddAverage', more);
  for (const { name } of (await ask(victim.client, 'GetRun')).averages.slice(1)) {
    await ask(victim.client, 'RemoveAverage', { run: 'r', average: name });
  }
  await expectError(
    ask(victim.client, 'RemoveAverage', { run: 'r', average: 'ema' }),
    'FAILED_PRECONDITION',
    'LAST_AVERAGE',
    /^"ema" is the only average of run "r": delete the run$/,
  );
  expect((await ask(victim.client, 'GetRun')).states).toMatchObject([{ name: 'ema', num_updates: 1 }]);
});
