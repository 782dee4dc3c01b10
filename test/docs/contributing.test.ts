/** What CONTRIBUTING.md and the architecture send a reader to is there. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, readSource } from '../support/source-files.js';

const TOP = ['.ci', 'src', 'test', 'docs', 'proto', 'python', 'bench', 'scripts', 'conformance'];
/** Those of src, which the architecture names without it. */
const FOLDERS = ['common', 'protocol', 'kernels', 'engine', 'storage', 'server', 'client', 'cli'];
/** `npm test` makes it. */
const MADE = ['python/.venv'];

/** Paths in a page's code, as they lie in the checkout; of a pattern the folder. */
function pathsIn(page: string): string[] {
  const quoted = [...readSource(page).matchAll(/`([.a-z]+)\/([^`\s]*)`/g)];
  return quoted
    .filter(([, top = '']) => TOP.includes(top) || FOLDERS.includes(top))
    .map(([, top = '', rest = '']) => `${TOP.includes(top) ? '' : 'src/'}${top}/${rest.replace(/[^/]*\*.*/, '')}`);
}

test.each(['CONTRIBUTING.md', 'docs/architecture.md'])('%s names paths that exist', (page) => {
  const paths = pathsIn(page).filter((path) => !MADE.includes(path));
  expect(paths.length).toBeGreaterThan(10);
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});

test('CONTRIBUTING.md names scripts and tests that exist', () => {
  const text = readSource('CONTRIBUTING.md');
  const scripts = JSON.parse(readSource('package.json')).scripts as Record<string, string>;
  const wanted = [...text.matchAll(/npm (?:run )?(check|test|build)\b/g)].map(([, name = '']) => name);
  expect(wanted.length).toBeGreaterThan(3);
  expect(wanted.filter((name) => scripts[name] === undefined)).toEqual([]);
  for (const [, file = '', name = ''] of text.matchAll(/vitest run (\S+) -t "([^"]+)"/g)) {
    expect(readSource(file), file).toContain(`test('${name}`);
  }
  for (const [, file = '', name = ''] of text.matchAll(/pytest -q (\S+) -k (\w+)/g)) {
    expect(readSource(`python/${file}`), file).toMatch(new RegExp(`def test_\\w*${name}`));
  }
});
