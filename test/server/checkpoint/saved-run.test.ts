import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { OpenRunRequest } from '../../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import { readSavedOpenRun } from '../../../src/server/checkpoint/saved-open-run.js';
import { readSavedRun } from '../../../src/server/checkpoint/saved-run.js';
import { encodeSealed } from '../../../src/storage/checkpoint/sealed-json.js';
import { StorageError } from '../../../src/storage/index.js';
import { changedAt, type Json, nameOf, type Place, placesOf, withField } from '../../support/json-places.js';
import { ask, openRun, rawClient, SMALL, serve } from '../harness.js';
import { f32Space } from '../read.js';
import { Upload } from '../upload.js';

type Fields = { [name: string]: Json };

/** A run whose state gets every field: an added average, snapshots, a rejected step, two lives of the trainer. */
const RUN: OpenRunRequest = {
  run: 'r',
  incarnation: 'a',
  tensors: [
    { name: 'w', dtype: 'F32', shape: [2, 3] },
    { name: 'n', dtype: 'F32', shape: [1], policy: 'COPY' },
  ],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.5 }, include: ['w'] },
    { name: 'power', start: 'FIRST', power_function: { gamma: 6 } },
  ],
  snapshots: { every_steps: 1, count_max: 4 },
  retain: { every_steps: 1, count_max: 1 },
};

async function dataDir(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'shadowkeep-saved-run-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Makes a data directory as a server leaves it, with the run of this test and another one. */
async function savedDir(): Promise<string> {
  const path = await dataDir();
  const server = await serve({ dataDir: path });
  const client = rawClient(server);
  await openRun(client, { ...SMALL, run: 'other' });
  await openRun(client, RUN);
  const { generation } = await openRun(client, { ...RUN, incarnation: 'b' });
  const upload = new Upload(client).open(generation);
  for (const step of [1, 2, 4]) expect((await upload.push(step, stepOf(step)).ack()).state).toBe('COMMITTED');
  await ask(client, 'AddAverage', { run: 'r', average: { name: 'late', start: 'FIRST', mean: {} } });
  for (const step of [5, 6]) expect((await upload.push(step, stepOf(step)).ack()).state).toBe('COMMITTED');
  expect((await upload.push(7, stepOf(Number.NaN)).ack()).state).toBe('REJECTED');
  await upload.end();
  await server.stop();
  return path;
}

function stepOf(value: number): Buffer {
  return f32Space([value, 2, 3, 4, 5, 6], [value]);
}

async function checkpointOf(path: string): Promise<string> {
  const name = (await readdir(join(path, 'r'))).find((entry) => entry.startsWith('step-'));
  return join(path, 'r', name ?? '');
}

/** Changes a file as a program that knows the format would, so that its digest fits. */
async function rewrite(file: string, change: (fields: Fields) => void): Promise<void> {
  const { sha256: _, ...fields } = JSON.parse(await readFile(file, 'utf8'));
  change(fields);
  await writeFile(file, encodeSealed(fields));
}

/** The object at a place within nested fields. */
function at(fields: Fields, ...place: Place): Fields {
  return place.reduce<Json>((value, name) => (value as Fields)[name]!, fields) as Fields;
}

let path: string;
let manifest: { state: Json; step: number };

beforeEach(async () => {
  path = await savedDir();
  manifest = JSON.parse(await readFile(join(await checkpointOf(path), 'manifest.json'), 'utf8'));
});

function readState(state: unknown): string {
  try {
    readSavedOpenRun(readSavedRun(state, manifest.step, 'FILE'), 'r', 'FILE');
    return 'accepted';
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return `${error.code} ${error.message}`;
  }
}

/** The places, without their indices, at which this change is accepted. */
function acceptedChanges(change: (value: Json) => Json | undefined): string[] {
  const names = [...placesOf(manifest.state)].flatMap((place) => {
    const state = changedAt(manifest.state, place, change);
    if (JSON.stringify(state) === JSON.stringify(manifest.state) || readState(state) !== 'accepted') return [];
    return [place.map((name) => (typeof name === 'number' ? '*' : name)).join('.')];
  });
  return [...new Set(names)].sort();
}

describe('every field of a state that was saved is read', () => {
  test('as it was', () => {
    expect(readState(manifest.state)).toBe('accepted');
  });

  test('and refused when it has another type', () => {
    const other = (value: Json): Json => (typeof value === 'string' ? 7 : 'text');
    expect(acceptedChanges(other)).toEqual([]);
    expect(
      acceptedChanges(() => null),
      'a message that is not there',
    ).toEqual(['open.retain']);
    expect(acceptedChanges(() => ({ of: 'something else' }))).toEqual([]);
  });

  test('and refused when a number is out of its bounds', () => {
    for (const wrong of [-1, 0.25, 2 ** 53, 1e300]) {
      const change = (value: Json): Json => (typeof value === 'number' ? wrong : value);
      expect({ wrong, accepted: acceptedChanges(change) }).toMatchSnapshot();
    }
  });

  test('and what is missing is refused, unless it may be', () => {
    expect(acceptedChanges(() => undefined)).toMatchSnapshot();
  });

  test('and one that a newer version added is refused by name', () => {
    let holders = 0;
    for (const place of placesOf(manifest.state)) {
      const added = changedAt(manifest.state, place, (value) => withField(value, 'added_later'));
      if (!JSON.stringify(added).includes('added_later')) continue;
      holders += 1;
      expect(readState(added)).toMatch(/^TOO_NEW FILE was written by a newer version: /);
      expect(readState(added)).toContain(`${nameOf(['state', ...place])}.added_later`);
    }
    expect(holders).toBeGreaterThan(20);
  });
});

test('a run whose state was changed is set aside with the field, and the others are served', async () => {
  const manifestFile = join(await checkpointOf(path), 'manifest.json');
  const lineageFile = join(path, 'r', 'lineage.json');
  const cases: [string, (fields: Fields) => void, RegExp][] = [
    [
      manifestFile,
      (fields) => (at(fields, 'state', 'state', 'averages', 0).pushes = -1),
      /averages\[0\]\.pushes is -1, expected an integer from 0/,
    ],
    [
      manifestFile,
      (fields) => void (at(fields, 'state', 'state').digests as Json[]).reverse(),
      /digests\[1\]\.step is 5, expected after 6/,
    ],
    [
      manifestFile,
      (fields) => (at(fields, 'state', 'open').durability = 'STEP'),
      /newer version: it has state\.open\.durability/,
    ],
    [
      manifestFile,
      (fields) => (at(fields, 'state', 'open', 'tensors', 1).name = 'v'),
      /it has "n" F32 \[1\] where its state has "v" F32 \[1\]/,
    ],
    [
      lineageFile,
      (fields) => (at(fields, 'lineage').writers = 0),
      /lineage\.writers is 0, expected an integer from 1 to 1024/,
    ],
    [lineageFile, (fields) => (at(fields, 'lineage').epoch = 1), /newer version: it has the field lineage\.epoch/],
  ];
  for (const [file, change, problem] of cases) {
    const whole = await readFile(file);
    await rewrite(file, change);
    const server = await serve({ dataDir: path });
    expect(server.loaded).toEqual([{ run: 'other', step: undefined }]);
    const { damaged } = await ask(rawClient(server), 'ListRuns', {});
    expect(damaged).toEqual([{ run: 'r', problem: expect.stringMatching(problem) }]);
    await server.stop();
    await writeFile(file, whole);
  }
  const server = await serve({ dataDir: path });
  expect(server.loaded.map(({ run }) => run).sort()).toEqual(['other', 'r']);
});
