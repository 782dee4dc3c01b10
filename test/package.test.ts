import { execFileSync } from 'node:child_process';
import { posix } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, readSource } from './support/source-files.js';

/** What `npm pack` would put into the package, as it is built. */
function packedFiles(): string[] {
  const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const [packed] = JSON.parse(output) as [{ files: { path: string }[] }];
  return packed.files.map(({ path }) => path);
}

/** Links of a page that are no addresses: paths, without what follows a #. */
function relativeLinks(page: string): string[] {
  const links = [...readSource(page).matchAll(/\]\(([^()\s]+)\)/g)].map(([, link = '']) => link);
  return links.filter((link) => !/^[a-z]+:|^#/.test(link)).map((link) => link.replace(/#.*/, ''));
}

const files = packedFiles();
const pages = files.filter((path) => path.endsWith('.md'));
const isPacked = (path: string) => {
  const wanted = path.replace(/\/$/, '');
  return files.some((file) => file === wanted || file.startsWith(`${wanted}/`));
};

test('the package holds the program, its licence, and nothing that was left lying', () => {
  expect(files).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'package.json', 'dist/main.js']));
  expect(files).toEqual(expect.arrayContaining(['python/pyproject.toml', 'python/README.md', 'python/LICENSE']));
  expect(
    files.filter((path) => /(^|\/)(__pycache__|node_modules|shadowkeep-data|test|tests)\/|\.pyc$/.test(path)),
  ).toEqual([]);
});

test('every page of it links to what is in it', () => {
  expect(pages.length).toBeGreaterThan(10);
  const broken = pages.flatMap((page) =>
    relativeLinks(page)
      .filter((link) => !isPacked(posix.join(posix.dirname(page), link)))
      .map((link) => `${page} links to ${link}`),
  );
  expect(broken).toEqual([]);
});

test("Python's licence is the project's", () => {
  expect(readSource('python/LICENSE')).toBe(readSource('LICENSE'));
});

test('the oldest Node.js that is served and the one that is shipped are the same everywhere', () => {
  const shipped = readSource('Dockerfile').match(/^ARG NODE_IMAGE=node:(\d+)-/m)?.[1];
  const oldest = JSON.parse(readSource('package.json')).engines.node.replace('>=', '');
  expect(readSource('.nvmrc').trim()).toBe(shipped);
  const tested = readSource('.github/workflows/ci.yml').match(/node: \[(.*)\]/)?.[1];
  expect(tested?.split(', ')).toEqual([`'${oldest}'`, expect.any(String), `'${shipped}'`]);
});
