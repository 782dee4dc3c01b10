import { expect, test } from 'vitest';
import { isTarget } from '../../src/common/index.js';
import { readSource } from '../support/source-files.js';

/** Python's tests run the same cases: both clients take the same targets. */
const { accepted, refused } = JSON.parse(readSource('test/common/targets.json')) as Record<string, string[]>;

test.each(accepted!)('%s is a target', (text) => expect(isTarget(text)).toBe(true));
test.each(refused!)('"%s" is none', (text) => expect(isTarget(text)).toBe(false));
