import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { startServer } from '../src/server/index.js';
import { fencedBlocks } from './support/readme.js';
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

/**
 * An empty folder into which the package was installed from its tarball, without a network: beside it lie only the
 * dependencies that it names, with those that npm has installed for them here.
 */
function installPacked(): string {
  const folder = mkdtempSync(join(tmpdir(), 'shadowkeep-packed-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const options = ['--ignore-scripts', '--silent', '--pack-destination', folder];
  const tarball = execFileSync('npm', ['pack', ...options], { cwd: ROOT, encoding: 'utf8' }).trim();
  const home = join(folder, 'node_modules', 'shadowkeep');
  mkdirSync(home, { recursive: true });
  execFileSync('tar', ['-xzf', join(folder, tarball), '-C', home, '--strip-components=1']);
  for (const name of Object.keys(JSON.parse(readSource('package.json')).dependencies)) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), link);
  }
  return folder;
}

test("the README's Node.js example and the command run from the packed package alone", {
  timeout: 120_000,
}, async () => {
  const server = await startServer({ listen: '127.0.0.1:0', dataDir: 'none', logLevel: 'error' });
  onTestFinished(() => server.stop());
  const address = `127.0.0.1:${server.port}`;
  const folder = installPacked();
  const [example] = fencedBlocks('README.md').filter(({ language }) => language === 'js');
  writeFileSync(join(folder, 'from-node.mjs'), example!.text.replaceAll('127.0.0.1:50051', address));
  const run = async (...args: string[]) => {
    return (await promisify(execFile)(process.execPath, args, { cwd: folder })).stdout;
  };
  expect(await run('from-node.mjs')).toBe('1 [ 2, 2 ]\n');
  // A second run of the example goes on in its run.
  expect(await run('from-node.mjs')).toBe('2 [ 2, 2 ]\n');
  expect(await run('node_modules/shadowkeep/dist/main.js', 'runs', '--target', address)).toContain('from-node');
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
