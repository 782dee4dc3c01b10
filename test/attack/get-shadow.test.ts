import { expect, test } from 'vitest';
import { ERROR_TABLE } from '../../src/common/index.js';
import { expectError } from '../server/expect-error.js';
import { ask, openRun } from '../server/harness.js';
import { read } from '../server/read.js';
import { type Attack, INEXACT, STEP_BYTES, VICTIM, Victim } from './victim.js';

const LONG = 'x'.repeat(10_240);
const EXACT = 'must be an integer from 0 to 9007199254740991, got ';

const CASES: Attack<object>[] = [
  ['no run', { run: '' }, 'INVALID_NAME', /^run "" must match/],
  ['run ..', { run: '..' }, 'INVALID_NAME', /^run "\.\." must match/],
  ['run of 10 KB', { run: LONG }, 'INVALID_NAME', /^run "x{80}…" has 10240 characters, at most 128/],
  ['run __proto__', { run: '__proto__' }, 'INVALID_NAME', /^run "__proto__" must match/],
  ['an unknown run', { run: 'toString' }, 'RUN_NOT_FOUND', /^run "toString" does not exist$/],
  [
    'no average of two',
    { average: '' },
    'AVERAGE_NOT_FOUND',
    /^run "r" has several averages, name one of "ema", "mean"$/,
  ],
  [
    'an unknown average',
    { average: '__proto__' },
    'AVERAGE_NOT_FOUND',
    /no average "__proto__", it has "ema", "mean"$/,
  ],
  ['an average of 10 KB', { average: LONG }, 'AVERAGE_NOT_FOUND', /no average "x{80}…", it has/],
  [
    'a step that has passed',
    { step: 0 },
    'VERSION_NOT_FOUND',
    /^step 0 of run "r" is no longer held, the newest is 1$/,
  ],
  ['a step to come', { step: 2 }, 'VERSION_NOT_FOUND', /^run "r": step 2 has not come yet, the newest is 1$/],
  ['a step to wait for', { step: 2, wait_ms: 1 }, 'WAIT_TIMEOUT', /waited 1 ms for step 2, the newest is 1$/],
  [
    'min_step to wait for',
    { min_step: 2 ** 53 - 1, wait_ms: 1 },
    'WAIT_TIMEOUT',
    /for step 9007199254740991, the newest is 1$/,
  ],
  ...INEXACT.flatMap((value): Attack<object>[] => [
    [`step ${value}`, { step: value }, 'INVALID_FIELD', new RegExp(`^step ${EXACT}\\d+$`)],
    [`min_step ${value}`, { min_step: value }, 'INVALID_FIELD', new RegExp(`^min_step ${EXACT}\\d+$`)],
    [
      `wait_ms ${value}`,
      { wait_ms: value },
      'INVALID_FIELD',
      /^wait_ms must be an integer from 0 to 3600000, got \d+$/,
    ],
    [
      `resume.version ${value}`,
      { resume: { version: value } },
      'INVALID_FIELD',
      new RegExp(`^resume.version ${EXACT}`),
    ],
    [
      `resume.offset ${value}`,
      { resume: { version: 1, offset: value } },
      'INVALID_FIELD',
      new RegExp(`^resume.offset ${EXACT}\\d+$`),
    ],
  ]),
  ['wait_ms over an hour', { wait_ms: 3_600_001 }, 'INVALID_FIELD', /^wait_ms .* from 0 to 3600000, got 3600001$/],
  [
    'resume of an unknown version',
    { resume: { version: 7 } },
    'VERSION_NOT_FOUND',
    /^version 7 of run "r" is no longer held$/,
  ],
  ['an empty resume', { resume: {} }, 'VERSION_NOT_FOUND', /^version 0 of run "r" is no longer held$/],
  [
    'resume at 8',
    { resume: { version: 1, offset: 8 } },
    'INVALID_FIELD',
    /^resume\.offset must be a multiple of 16, got 8$/,
  ],
  [
    'an empty pattern',
    { names: ['w', ''] },
    'INVALID_FIELD',
    /^names\[1\] length must be an integer from 1 to 1024, got 0$/,
  ],
  ['a pattern of 10 KB', { names: [LONG] }, 'INVALID_FIELD', /^names\[0\] length .* from 1 to 1024, got 10240$/],
  ['a name that is not there', { names: ['w', 'v'] }, 'INVALID_FIELD', /^names\[1\] "v" matches no tensor of the run$/],
  ['__proto__', { names: ['__proto__'] }, 'INVALID_FIELD', /^names\[0\] "__proto__" matches no tensor of the run$/],
  ['a pattern that matches nothing', { names: ['*x*'] }, 'INVALID_FIELD', /^names\[0\] "\*x\*" matches no tensor/],
  ['1,025 patterns', { names: Array(1_025).fill('w') }, 'INVALID_FIELD', /^names length .* from 0 to 1024, got 1025$/],
  ['65,537 patterns', { names: Array(65_537).fill('w') }, 'INVALID_FIELD', /^names length .* to 1024, got 65537$/],
  ['boxes and names', { boxes: [{}], names: ['w'] }, 'INVALID_FIELD', /^names and boxes exclude each other$/],
  ['a box of no tensor', { boxes: [{}, { tensor: 2 }] }, 'INVALID_FIELD', /^boxes\[1\]\.tensor .* from 0 to 1, got 2$/],
  [
    'a box of tensor 2^32 − 1',
    { boxes: [{ tensor: 2 ** 32 - 1 }] },
    'INVALID_FIELD',
    /^boxes\[0\]\.tensor .* from 0 to 1, got 4294967295$/,
  ],
  [
    'a box of a group',
    { boxes: [{ replica_group: 7 }] },
    'INVALID_FIELD',
    /^boxes\[0\]\.replica_group must be 0 in a read, got 7$/,
  ],
  [
    'offset without extent',
    { boxes: [{ offset: [0] }] },
    'INVALID_FIELD',
    /^boxes\[0\]\.extent length must be an integer from 1 to 1, got 0$/,
  ],
  [
    'rank 2 of 1',
    { boxes: [{ offset: [0, 0], extent: [1, 1] }] },
    'INVALID_FIELD',
    /^boxes\[0\] must have 1 offsets and extents, or none, got 2$/,
  ],
  [
    'a box past the end',
    { boxes: [{ offset: [39], extent: [2] }] },
    'INVALID_FIELD',
    /^boxes\[0\] goes from 39 to 41 in dimension 0 of tensor "w" of shape \[40\]$/,
  ],
  [
    'a box over 2^53',
    { boxes: [{ offset: [2 ** 53 - 1], extent: [2 ** 53 - 1] }] },
    'INVALID_FIELD',
    /^boxes\[0\] goes from 9007199254740991 to 18014398509481982 in dimension 0/,
  ],
  ...INEXACT.flatMap((value): Attack<object>[] => [
    [
      `box offset ${value}`,
      { boxes: [{ offset: [value], extent: [1] }] },
      'INVALID_FIELD',
      /^boxes\[0\]\.offset must be an integer from 0 to 9007199254740991, got \d+$/,
    ],
    [
      `box extent ${value}`,
      { boxes: [{ offset: [0], extent: [value] }] },
      'INVALID_FIELD',
      /^boxes\[0\]\.extent must be an integer from 0 to 9007199254740991, got \d+$/,
    ],
  ]),
  ['65,537 boxes', { boxes: Array(65_537).fill({}) }, 'INVALID_FIELD', /^boxes length .* to 65536, got 65537$/],
  ['dtype I64', { dtype: 'I64' }, 'INVALID_FIELD', /^dtype must be F16, BF16, F32 or F64, got I64$/],
  ['dtype F8_E5M2', { dtype: 'F8_E5M2' }, 'INVALID_FIELD', /^dtype must be F16, BF16, F32 or F64, got F8_E5M2$/],
  ['dtype 99', { dtype: 99 }, 'INVALID_FIELD', /^dtype must be F16, BF16, F32 or F64, got 99$/],
  ['chunk_bytes 8', { chunk_bytes: 8 }, 'INVALID_FIELD', /^chunk_bytes must be an integer from 16 to 4190208, got 8$/],
  ['chunk_bytes 24', { chunk_bytes: 24 }, 'INVALID_FIELD', /^chunk_bytes must be a multiple of 16, got 24$/],
  ['chunk_bytes 4 MiB', { chunk_bytes: 4 << 20 }, 'INVALID_FIELD', /^chunk_bytes .* from 16 to 4190208, got 4194304$/],
  ['chunk_bytes 2^32 − 1', { chunk_bytes: 2 ** 32 - 1 }, 'INVALID_FIELD', /^chunk_bytes .* got 4294967295$/],
];

const SIGMA_REL_BOUND = 'from 0.000001 to 0.2886751345948129 \\(the plain average\\)';

/** Requests for a combination; the run has two averages and none that can be combined. */
const COMBINATIONS: Attack<object>[] = [
  ...[0, -0.1, 1e-7, 0.3, 1.5, NaN, Infinity, -Infinity].map(
    (sigma_rel): Attack<object> => [
      `sigma_rel ${sigma_rel}`,
      { sigma_rel },
      'INVALID_FIELD',
      new RegExp(`^sigma_rel must be a number ${SIGMA_REL_BOUND}, got ${sigma_rel}$`),
    ],
  ),
  ...[-1e-9, 1_000_001, NaN, Infinity, -Infinity].map(
    (gamma): Attack<object> => [
      `gamma ${gamma}`,
      { gamma },
      'INVALID_FIELD',
      new RegExp(`^gamma must be a number from 0 to 1000000, got ${gamma}$`),
    ],
  ),
  [
    'sigma_rel and an average',
    { sigma_rel: 0.1, average: 'ema' },
    'INVALID_FIELD',
    /^average must be empty with sigma_rel, got "ema"$/,
  ],
  [
    'gamma and an average that is not there',
    { gamma: 1, average: '__proto__' },
    'INVALID_FIELD',
    /^average must be empty with gamma, got "__proto__"$/,
  ],
  [
    'a pattern that matches nothing',
    { gamma: 1, names: ['x*'] },
    'INVALID_FIELD',
    /^names\[0\] "x\*" matches no tensor of the run$/,
  ],
  ['nothing to combine', { gamma: 1 }, 'NOTHING_TO_COMBINE', /^run "r" has no power-function average that has been/],
  [
    'nothing to combine at a step',
    { sigma_rel: 0.1, step: 1 },
    'NOTHING_TO_COMBINE',
    /^run "r" has no power-function average that has been/,
  ],
  ['a step to come', { gamma: 1, step: 2 }, 'VERSION_NOT_FOUND', /^run "r": step 2 has not come yet, the newest is 1$/],
  ['an empty resume', { gamma: 1, resume: {} }, 'VERSION_NOT_FOUND', /^version 0 of run "r" is no longer held$/],
];

test('each field of GetShadowRequest is checked, and the run stays as it is', async () => {
  const victim = await Victim.create();
  const { version } = (await read(victim.client, { average: 'ema' })).header;
  const cases: Attack<object>[] = [
    ...CASES.map(([what, request, ...rest]): Attack<object> => [what, { average: 'ema', ...request }, ...rest]),
    ...COMBINATIONS,
    [
      'resume past the end',
      { average: 'ema', resume: { version, offset: STEP_BYTES + 16 } },
      'INVALID_FIELD',
      /^resume\.offset must be at most 256, got 272$/,
    ],
  ];
  for (const [what, request, reason, text] of cases) {
    await expectError(read(victim.client, request), ERROR_TABLE[reason].code, reason, text).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}`, { cause: error });
    });
  }
  await victim.expectUnharmed();
});

test('what a run without a commit cannot give', async () => {
  const victim = await Victim.create();
  await openRun(victim.client, { ...VICTIM, run: 'new' });
  const fail = (request: object) => read(victim.client, { run: 'new', average: 'ema', ...request });
  const nothing = /^run "new": nothing is committed yet$/;
  await expectError(fail({}), 'FAILED_PRECONDITION', 'NOTHING_COMMITTED', nothing);
  await expectError(fail({ step: 1 }), 'FAILED_PRECONDITION', 'NOTHING_COMMITTED', nothing);
  const waited = /^run "new": waited 1 ms for a first commit, nothing is committed$/;
  await expectError(fail({ wait_ms: 1 }), 'DEADLINE_EXCEEDED', 'WAIT_TIMEOUT', waited);
  await ask(victim.client, 'DeleteRun', { run: 'new' });
  await victim.expectUnharmed();
});

test('what is odd but legal is served', async () => {
  const victim = await Victim.create();
  const get = (request: object) => read(victim.client, { average: 'ema', ...request });
  const whole = await get({});
  expect((await get({ chunk_bytes: 16, checksums: true })).bytes).toEqual(whole.bytes);
  expect((await get({ names: Array(1_024).fill('*') })).bytes).toEqual(whole.bytes);
  expect((await get({ names: ['n'] })).bytes).toEqual(whole.bytes.subarray(192));
  const w = { tensor: 0 };
  expect((await get({ boxes: [w, { tensor: 1 }] })).bytes, 'each tensor whole').toEqual(whole.bytes);
  expect((await get({ boxes: Array(65_536).fill({ offset: [3], extent: [0] }) })).bytes, 'empty boxes').toHaveLength(0);
  expect((await get({ boxes: Array(1_000).fill(w) })).bytes, 'the same, often').toHaveLength(192_000);
  expect((await get({ min_step: 0 })).header.step).toBe(1);
  const version = whole.header.version;
  expect((await get({ resume: { version, offset: STEP_BYTES } })).bytes, 'nothing is left').toHaveLength(0);
  expect((await get({ resume: { version, offset: 64 } })).bytes).toEqual(whole.bytes.subarray(64));
  await victim.expectUnharmed();
});
