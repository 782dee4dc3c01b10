import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseManifest } from '../../../src/storage/checkpoint/manifest.js';
import { encodeSealed } from '../../../src/storage/checkpoint/sealed-json.js';
import { readLineage, StorageError, writeLineage } from '../../../src/storage/index.js';
import { changedAt, type Json, nameOf, placesOf, withField } from '../../support/json-places.js';
import { storageFailure, temporaryDirectory } from '../fixtures.js';
import { RUN, runDirectoryOf, writeSample } from './sample.js';

/** The manifest of a checkpoint on the disk, without its seal; the state is not storage's to read. */
async function writtenManifest(): Promise<Json> {
  const { path } = await writeSample(await temporaryDirectory(), 3);
  const { sha256: _, state: _state, ...fields } = JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8'));
  return fields;
}

function refusalOf(fields: Json): string {
  try {
    parseManifest(encodeSealed(fields as Record<string, unknown>), 'FILE');
    return 'accepted';
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return `${error.code} ${error.message}`;
  }
}

const SEAL = ['format', 'version'];

describe('every field of a manifest is read, and refused by its name', () => {
  const wrong: [string, (value: Json) => Json | undefined][] = [
    ['of another type', (value) => (typeof value === 'string' ? 7 : 'text')],
    ['negative', (value) => (typeof value === 'number' ? -1 : value)],
    ['no integer', (value) => (typeof value === 'number' ? 0.25 : value)],
    ['missing', () => undefined],
  ];
  test.each(wrong)('%s', async (_, change) => {
    const manifest = await writtenManifest();
    expect(refusalOf(manifest)).toBe('accepted');
    let refused = 0;
    for (const place of placesOf(manifest)) {
      const changed = changedAt(manifest, place, change);
      const isElement = typeof place.at(-1) === 'number';
      const isSame = JSON.stringify(changed) === JSON.stringify(manifest);
      if (place.length === 0 || isSame || SEAL.includes(String(place[0])) || (isElement && change('') === undefined))
        continue;
      refused += 1;
      expect(refusalOf(changed)).toContain(`DAMAGED FILE is damaged: ${nameOf(place)} is `);
    }
    expect(refused).toBeGreaterThan(10);
  });

  test('unknown: a newer version wrote it', async () => {
    const manifest = await writtenManifest();
    let holders = 0;
    for (const place of placesOf(manifest)) {
      const added = changedAt(manifest, place, (value) => withField(value, 'added_later'));
      if (!JSON.stringify(added).includes('added_later')) continue;
      holders += 1;
      const problem = `it has the field ${nameOf([...place, 'added_later'])}, which this version does not know`;
      expect(refusalOf(added)).toBe(`TOO_NEW FILE was written by a newer version: ${problem}`);
    }
    expect(holders).toBeGreaterThan(6);
  });
});

test('so is lineage.json around the lineage', async () => {
  const dataDir = await temporaryDirectory();
  await writeSample(dataDir, 3);
  await writeLineage(dataDir, RUN, { generation: 7 });
  expect((await readLineage(dataDir, RUN))?.lineage).toEqual({ generation: 7 });
  const path = join(runDirectoryOf(dataDir), 'lineage.json');
  const { sha256: _, ...fields } = JSON.parse(await readFile(path, 'utf8'));
  const refusal = async (changed: object, code: 'DAMAGED' | 'TOO_NEW') => {
    await writeFile(path, encodeSealed({ ...changed }));
    return (await storageFailure(readLineage(dataDir, RUN), code)).message;
  };
  expect(await refusal({ ...fields, epoch: 1 }, 'TOO_NEW')).toContain('it has the field epoch, which');
  expect(await refusal({ ...fields, run: 7 }, 'DAMAGED')).toContain('run is 7, expected a text of');
  expect(await refusal({ ...fields, run: 'another' }, 'DAMAGED')).toContain('it belongs to run another');
});
