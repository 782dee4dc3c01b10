import { expect, test } from 'vitest';
import { ERROR_TABLE } from '../../src/common/index.js';
import { expectError } from '../server/expect-error.js';
import { ask, openRun } from '../server/harness.js';
import { type Attack, VICTIM, Victim } from './victim.js';

/** Requests to the run that is there: refused for what it is, and not for what they are. */
const EXISTING: Attack<object>[] = [
  [
    'other writers',
    { writers: 2 },
    'WRITERS_MISMATCH',
    /^generation 1 of run "r" has 1 writers, 2 in the request: another number of writers needs a new incarnation$/,
  ],
  [
    'a trainer from its beginning',
    { trainer_step: 0, incarnation: 'i' },
    'RUN_HAS_COMMITS',
    /^run "r" has committed step 1, the trainer begins at step 0: open another run, delete this one, go on in it without trainer_step, or rewind with resume_step; retained are steps \[\]$/,
  ],
  ['a trainer from its beginning, of no life', { trainer_step: 0 }, 'RUN_HAS_COMMITS', /begins at step 0/],
  [
    'a trainer from ahead',
    { trainer_step: 2, incarnation: 'i' },
    'RUN_BEHIND',
    /^run "r" has committed step 1, the trainer comes back from step 2: /,
  ],
  [
    'a rewind to what is not kept',
    { resume_step: 0, incarnation: 'i' },
    'VERSION_NOT_FOUND',
    /^run "r" has no version at or below step 0 to go on from: 1 is committed, retained are steps \[\]$/,
  ],
  [
    'retention with a refusal',
    { retain: { every_steps: 1, count_max: 64 }, trainer_step: 0 },
    'RUN_HAS_COMMITS',
    /begins at step 0/,
  ],
];

test('what does not fit the run leaves it as it is, its generation and its retention too', async () => {
  const victim = await Victim.create();
  for (const [what, change, reason, text] of EXISTING) {
    const request = { ...VICTIM, ...change };
    await expectError(openRun(victim.client, request), ERROR_TABLE[reason].code, reason, text).catch((error) => {
      throw new Error(`${what}: ${error.message}`, { cause: error });
    });
  }
  expect(await ask(victim.client, 'GetRun')).toMatchObject({ generation: 1, retain: null, retained_steps: [] });
  await victim.expectUnharmed();
});
