import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { ERROR_TABLE } from '../../src/common/index.js';
import { expectError } from '../server/expect-error.js';
import { ask, openRun, rawClient, SMALL, serve } from '../server/harness.js';
import { AVERAGE_ATTACKS, averageWith } from './averages.js';
import { type Attack, INEXACT, VICTIM, Victim } from './victim.js';

const LONG = 'x'.repeat(10_240);

const tensor = (rest: object): object => ({ tensors: [{ name: 'v', dtype: 'F32', shape: [4], ...rest }] });
const average = (rest: Record<string, unknown>): object => ({ averages: [averageWith(rest)] });
const tensors = (count: number): object => ({
  tensors: Array.from({ length: count }, (_, index) => ({ name: index.toString(36), dtype: 12, shape: [] })),
});

const BAD_RUN_NAMES = ['', '.', '..', 'a..b', '../r', 'a/b', 'a\\b', '/etc', '-r', 'r\0', 'a b', 'ä', '__proto__'];
const BAD_TENSOR_NAMES = ['', '..', 'a..b', '../w', 'w\0', 'w\n', '\u007f', '__proto__', '__metadata__', LONG];

const RUN: Attack<object>[] = [
  ...BAD_RUN_NAMES.map(
    (run): Attack<object> => [`run ${JSON.stringify(run)}`, { run }, 'INVALID_NAME', /^run ".*" must match /],
  ),
  ['run of 129 characters', { run: 'r'.repeat(129) }, 'INVALID_NAME', /^run "r{80}…" has 129 characters, at most 128/],
  ['run of 10 KB', { run: LONG }, 'INVALID_NAME', /has 10240 characters, at most 128 are allowed$/],
  ['writers 1,025', { writers: 1_025 }, 'INVALID_FIELD', /^writers must be an integer from 0 to 1024, got 1025$/],
  ['writers 2^32 − 1', { writers: 4_294_967_295 }, 'INVALID_FIELD', /^writers .* from 0 to 1024, got 4294967295$/],
  [
    'incarnation of 129',
    { incarnation: 'i'.repeat(129) },
    'INVALID_FIELD',
    /^incarnation length .* 0 to 128, got 129$/,
  ],
  ['non_finite 99', { non_finite: 99 }, 'INVALID_FIELD', /^non_finite must be one of .*SKIP_TENSOR, got 99$/],
  ['non_finite −1', { non_finite: -1 }, 'INVALID_FIELD', /^non_finite must be one of .*, got -1$/],
  [
    'resume_step of no life',
    { resume_step: 0 },
    'INVALID_FIELD',
    /^resume_step needs an incarnation: it acts once for each life of the trainer$/,
  ],
  ...INEXACT.flatMap((value): Attack<object>[] => [
    [
      `resume_step ${value}`,
      { resume_step: value, incarnation: 'i' },
      'INVALID_FIELD',
      /^resume_step must be an integer from 0 to 9007199254740991, got \d+$/,
    ],
    [
      `trainer_step ${value}`,
      { trainer_step: value },
      'INVALID_FIELD',
      /^trainer_step must be an integer from 0 to 9007199254740991, got \d+$/,
    ],
  ]),
  ['no tensors', { tensors: [] }, 'INVALID_FIELD', /^tensors length must be an integer from 1 to 65536, got 0$/],
  ['no averages', { averages: [] }, 'INVALID_AVERAGE', /^averages length must be an integer from 1 to 16, got 0$/],
  [
    '17 averages',
    { averages: Array.from({ length: 17 }, (_, index) => ({ name: `e${index}`, start: 'FIRST', mean: {} })) },
    'INVALID_AVERAGE',
    /^averages length must be an integer from \d+ to 16, got 17$/,
  ],
  ['65,537 tensors', tensors(65_537), 'TOO_MANY_TENSORS', /^tensors has more than 65536 entries$/],
];

const TENSOR: Attack<object>[] = [
  ...BAD_TENSOR_NAMES.map(
    (name): Attack<object> => [
      `name ${JSON.stringify(name).slice(0, 20)}`,
      tensor({ name }),
      'INVALID_NAME',
      /^tensors\[0\]\.name ".*" (has \d+ bytes, 1 to 512 are allowed|contains|is reserved)/,
    ],
  ),
  ['name of 513 bytes in 171 characters', tensor({ name: '€'.repeat(171) }), 'INVALID_NAME', /has 513 bytes, 1 to 512/],
  [
    'a name twice',
    {
      tensors: [
        { name: 'v', dtype: 'F32' },
        { name: 'v', dtype: 'F32' },
      ],
    },
    'INVALID_TENSOR',
    /^tensors\[1\] "v" is declared twice$/,
  ],
  ['dtype unspecified', tensor({ dtype: 0 }), 'INVALID_TENSOR', /"v" has dtype DTYPE_UNSPECIFIED, one of BOOL,/],
  ['dtype 16', tensor({ dtype: 16 }), 'INVALID_TENSOR', /"v" has dtype 16, one of/],
  ['dtype −1', tensor({ dtype: -1 }), 'INVALID_TENSOR', /"v" has dtype -1, one of/],
  [
    'rank 65',
    tensor({ shape: Array(65).fill(1) }),
    'INVALID_TENSOR',
    /^tensors\[0\] has a rank over 64, which is the largest$/,
  ],
  [
    'rank 100,000',
    tensor({ shape: Array(100_000).fill(1) }),
    'INVALID_TENSOR',
    /^tensors\[0\] has a rank over 64, which/,
  ],
  ...INEXACT.map(
    (extent): Attack<object> => [
      `extent ${extent}`,
      tensor({ shape: [extent] }),
      'INVALID_TENSOR',
      /"v" has shape \[\d+\], at most 1125899906842624 elements are allowed$/,
    ],
  ),
  ['extent 2^50 + 1', tensor({ shape: [2 ** 50 + 1] }), 'INVALID_TENSOR', /shape \[1125899906842625\], at most/],
  [
    'shape of 2^64 elements',
    tensor({ shape: [2 ** 32, 2 ** 32] }),
    'INVALID_TENSOR',
    /shape \[4294967296,4294967296\]/,
  ],
  ['shape that overflows to ∞', tensor({ shape: Array(64).fill(2 ** 50) }), 'INVALID_TENSOR', /has shape \[1125/],
  [
    'shape that overflows before its 0',
    tensor({ shape: [2 ** 50, 2 ** 50, 0, INEXACT[2]] }),
    'INVALID_TENSOR',
    /has shape/,
  ],
  [
    'tensors of 2^51 elements together',
    { tensors: ['a', 'b'].map((name) => ({ name, dtype: 'U8', shape: [2 ** 50] })) },
    'INVALID_TENSOR',
    /^tensors\[1\] "b" brings the run over 1125899906842624 elements$/,
  ],
  [
    'a tensor that no machine holds',
    tensor({ shape: [2 ** 50] }),
    'MEMORY_EXHAUSTED',
    /needs \d+ bytes, \d+ of the server's/,
  ],
  ['policy 5', tensor({ policy: 5 }), 'INVALID_FIELD', /^tensors\[0\]\.policy must be one of .*IGNORE, got 5$/],
  ['policy −1', tensor({ policy: -1 }), 'INVALID_FIELD', /^tensors\[0\]\.policy must be one of .*, got -1$/],
  ...['BOOL', 'U8', 'I64', 'F8_E4M3'].map(
    (dtype): Attack<object> => [
      `AVERAGE of ${dtype}`,
      tensor({ dtype, policy: 'AVERAGE' }),
      'INVALID_TENSOR',
      /has dtype \w+, only F16, BF16, F32 and F64 can be averaged$/,
    ],
  ),
];

const AVERAGE: Attack<object>[] = [
  ...[...BAD_RUN_NAMES, 'a'.repeat(65), LONG].map(
    (name): Attack<object> => [
      `name ${JSON.stringify(name).slice(0, 20)}`,
      average({ name }),
      'INVALID_NAME',
      /^averages\[0\]\.name ".*" (must match|has \d+ characters, at most 64)/,
    ],
  ),
  [
    'a name twice',
    { averages: Array(2).fill({ name: 'e', start: 'FIRST', mean: {} }) },
    'INVALID_AVERAGE',
    /^averages\[1\] "e" is declared twice$/,
  ],
  ['no start', average({ start: 0 }), 'INVALID_AVERAGE', /^averages\[0\]\.start must be one of ZEROS, INITIAL, FIRST$/],
  ['start 4', average({ start: 4 }), 'INVALID_FIELD', /^averages\[0\]\.start must be one of .*, got 4$/],
  [
    'precision BF16',
    average({ precision: 'BF16' }),
    'INVALID_AVERAGE',
    /precision of "e" must be F32 or F64, got BF16$/,
  ],
  ['precision I64', average({ precision: 'I64' }), 'INVALID_AVERAGE', /must be F32 or F64, got I64$/],
  ['precision 99', average({ precision: 99 }), 'INVALID_AVERAGE', /must be F32 or F64, got 99$/],
  ...AVERAGE_ATTACKS.map(
    ([what, rest, reason, text]): Attack<object> => [
      what,
      { tensors: VICTIM.tensors, ...average(rest) },
      reason,
      new RegExp(`^average(s\\[0\\])?${text.source}`),
    ],
  ),
];

const PATTERNS: Attack<object>[] = [
  [
    'a megabyte of patterns with stars',
    average({ include: Array(1_024).fill('*'.repeat(1_024)) }),
    'INVALID_FIELD',
    /^the averages' patterns with stars have 1048576 characters together, at most 131072 are allowed$/,
  ],
  [
    'one star more than is allowed',
    average({ include: [...Array(1_023).fill('*'.repeat(128)), '*'.repeat(129)] }),
    'INVALID_FIELD',
    /have 131073 characters together, at most 131072 are allowed$/,
  ],
];

/** Of the run `new`: the tensors of the victim, `w` of 40 floats and `n` of two integers. */
const POLICIES: Attack<object>[] = [
  [
    'a pattern that matches nothing',
    { policies: [{ pattern: 'x*', policy: 'COPY' }] },
    'INVALID_FIELD',
    /^policies\[0\]\.pattern "x\*" matches no tensor that it could apply to$/,
  ],
  [
    'an empty pattern',
    { policies: [{ pattern: '', policy: 'COPY' }] },
    'INVALID_FIELD',
    /^policies\[0\]\.pattern length must be an integer from 1 to 1024, got 0$/,
  ],
  [
    'a pattern of 10 KB',
    { policies: [{ pattern: LONG, policy: 'COPY' }] },
    'INVALID_FIELD',
    /^policies\[0\]\.pattern length .* to 1024, got 10240$/,
  ],
  ['no policy', { policies: [{ pattern: '*' }] }, 'INVALID_FIELD', /^policies\[0\]\.policy is required$/],
  [
    'policy 99',
    { policies: [{ pattern: '*', policy: 99 }] },
    'INVALID_FIELD',
    /^policies\[0\]\.policy must be one of .*, got 99$/,
  ],
  [
    'AVERAGE of an integer',
    { policies: [{ pattern: '*', policy: 'AVERAGE' }] },
    'INVALID_TENSOR',
    /^tensors\[1\] "n" has dtype I64, only F16, BF16, F32 and F64 can be averaged$/,
  ],
  [
    '1,025 policies',
    { policies: Array(1_025).fill({ pattern: '*', policy: 'COPY' }) },
    'INVALID_FIELD',
    /^policies length must be an integer from 0 to 1024, got 1025$/,
  ],
];

const power = { name: 'p', start: 'FIRST', power_function: { sigma_rel: 0.1 } };
const snapshots = (rest: object, averages: object[] = [power]): object => ({
  averages,
  snapshots: { every_steps: 10, count_max: 4, ...rest },
});

const SNAPSHOTS: Attack<object>[] = [
  [
    'none to take',
    snapshots({}, [{ name: 'e', start: 'FIRST', mean: {} }]),
    'INVALID_FIELD',
    /^snapshots need a power_function average, there is none$/,
  ],
  ['an empty message', { averages: [power], snapshots: {} }, 'INVALID_FIELD', /^snapshots\.every_steps .* from 1 /],
  [
    'every_steps 0',
    snapshots({ every_steps: 0 }),
    'INVALID_FIELD',
    /^snapshots\.every_steps must be an integer from 1 to 9007199254740991, got 0$/,
  ],
  ...[0, 1, 257, 2 ** 32 - 1].map(
    (count_max): Attack<object> => [
      `count_max ${count_max}`,
      snapshots({ count_max }),
      'INVALID_FIELD',
      new RegExp(`^snapshots.count_max must be an integer from 2 to 256, got ${count_max}$`),
    ],
  ),
  [
    '129 of two averages each',
    snapshots({ count_max: 129 }, [power, { ...power, name: 'q' }]),
    'INVALID_FIELD',
    /^snapshots\.count_max must be an integer from 2 to 128, got 129$/,
  ],
  ...INEXACT.flatMap((value): Attack<object>[] => [
    [
      `every_steps ${value}`,
      snapshots({ every_steps: value }),
      'INVALID_FIELD',
      /^snapshots\.every_steps .*, got \d+$/,
    ],
    [`bytes_max ${value}`, snapshots({ bytes_max: value }), 'INVALID_FIELD', /^snapshots\.bytes_max .*, got \d+$/],
  ]),
  [
    'bytes_max too small for two',
    snapshots({ bytes_max: 319 }),
    'INVALID_AVERAGE',
    /^snapshots\.bytes_max must be at least 320, two snapshots of each average, got 319$/,
  ],
  ['dtype I64', snapshots({ dtype: 'I64' }), 'INVALID_FIELD', /^snapshots\.dtype must be F16, .* or F64, got I64$/],
  ['dtype 99', snapshots({ dtype: 99 }), 'INVALID_FIELD', /^snapshots\.dtype must be F16, .* or F64, got 99$/],
];

const RETENTION: Attack<object>[] = [
  [
    'an empty message',
    { retain: {} },
    'INVALID_FIELD',
    /^retain\.every_steps must be an integer from 1 to \d+, got 0$/,
  ],
  ...INEXACT.map(
    (every_steps): Attack<object> => [
      `every_steps ${every_steps}`,
      { retain: { every_steps, count_max: 1 } },
      'INVALID_FIELD',
      /^retain\.every_steps must be an integer from 1 to 9007199254740991, got \d+$/,
    ],
  ),
  ...[0, 65, 2 ** 32 - 1].map(
    (count_max): Attack<object> => [
      `count_max ${count_max}`,
      { retain: { every_steps: 1, count_max } },
      'INVALID_FIELD',
      new RegExp(`^retain.count_max must be an integer from 1 to 64, got ${count_max}$`),
    ],
  ),
];

describe.each([
  ['OpenRunRequest', RUN],
  ['Tensor', TENSOR],
  ['Average', AVERAGE],
  ['Patterns', PATTERNS],
  ['PolicyRule', POLICIES],
  ['Snapshots', SNAPSHOTS],
  ['Retention', RETENTION],
])('%s', (_, attacks) => {
  test('each field is checked, and the runs stay as they are', async () => {
    const victim = await Victim.create();
    for (const [what, change, reason, text] of attacks) {
      const request = { ...VICTIM, run: 'new', ...change };
      await expectError(openRun(victim.client, request), ERROR_TABLE[reason].code, reason, text).catch((error) => {
        throw new Error(`${what}: ${error.message}`, { cause: error });
      });
    }
    await victim.expectUnharmed();
  });
});

test('what is odd but legal is taken', async () => {
  const victim = await Victim.create();
  const legal: Record<string, object> = {
    '65,536 tensors': tensors(65_536),
    'rank 64': tensor({ shape: Array(64).fill(1) }),
    'a name of 512 bytes': tensor({ name: 'n'.repeat(512) }),
    'names that only look special': {
      tensors: ['constructor', 'toString', 'a.b', '.', 'ä €'].map((name) => ({ name, dtype: 'U8' })),
    },
    'defaults that are said': average({ every: 1, decay_unit: 'PER_UPDATE' }),
    'a rhythm that never comes round': average({ every: 2 ** 53 - 1, every_offset: 2 ** 53 - 2 }),
    'a delay without end': average({ delay_updates: 2 ** 53 - 1, delay_mode: 'HOLD_UNTIL', start: 'ZEROS' }),
    'an index beyond all precision': average({ first_index: 2 ** 53 - 1 }),
    'patterns of stars': average({ include: Array(1_024).fill('*'.repeat(128)) }),
    '1,024 policies': { policies: Array(1_024).fill({ pattern: '*', policy: 'COPY' }) },
    'an overflow that a 0 undoes': tensor({ shape: [2 ** 40, 0] }),
    'one writer, ACCEPT': { writers: 1, non_finite: 'ACCEPT' },
    '1,024 writers': { writers: 1_024 },
    'a rewind of nothing': { resume_step: 2 ** 53 - 1, incarnation: 'i' },
    'a trainer from far ahead': { trainer_step: 2 ** 53 - 1 },
    '64 versions of every step': { retain: { every_steps: 1, count_max: 64 } },
    'versions that never come round': { retain: { every_steps: 2 ** 53 - 1, count_max: 1 } },
  };
  for (const [what, change] of Object.entries(legal)) {
    const opened = await openRun(victim.client, { ...VICTIM, run: 'new', ...change });
    expect(opened.created, what).toBe(true);
    await ask(victim.client, 'DeleteRun', { run: 'new' });
  }
  await victim.expectUnharmed();
});

test('a million tensors in one message are decoded up to the first that is too many', async () => {
  const victim = await Victim.create();
  // 7 bytes each: all that fits under the limit of a message.
  const million = openRun(victim.client, { ...VICTIM, tensors: Array(1_000_000).fill({ name: 'n', dtype: 12 }) });
  await expectError(million, 'INVALID_ARGUMENT', 'TOO_MANY_TENSORS', /^tensors has more than 65536 entries$/);
  await victim.expectUnharmed();
});

test('a message over the limit is refused by gRPC', async () => {
  const victim = await Victim.create();
  const refused = openRun(victim.client, { ...VICTIM, incarnation: 'i'.repeat(8 << 20) });
  await expect(refused).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  await victim.expectUnharmed();
});

test('one run more than 1,000 is refused, and a deletion makes room', async () => {
  const client = rawClient(await serve());
  const empty = { ...SMALL, tensors: [{ name: 'w', dtype: 'F32' as const, shape: [0] }] };
  await Promise.all(Array.from({ length: 1_000 }, (_, index) => openRun(client, { ...empty, run: `r${index}` })));
  const more = { ...empty, run: 'more' };
  await expectError(openRun(client, more), 'RESOURCE_EXHAUSTED', 'TOO_MANY_RUNS', /holds 1000 runs, at most 1000 are/);
  expect(await openRun(client, { ...empty, run: 'r7' }), 'one that is there').toMatchObject({ created: false });
  await ask(client, 'DeleteRun', { run: 'r7' });
  expect(await openRun(client, more)).toMatchObject({ created: true });
});
