import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERROR_TABLE } from '../src/common/index.js';
import { importsOf, ROOT, readSource, sourceFiles } from './support/source-files.js';

/** What each folder of src/ may import; docs/architecture.md says why. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  common: [],
  kernels: ['common'],
  engine: ['common', 'kernels'],
  protocol: ['common'],
  storage: ['common', 'engine'],
  server: ['common', 'kernels', 'engine', 'protocol', 'storage'],
  client: ['common', 'protocol'],
  demo: ['common', 'server', 'client'],
  cli: ['common', 'storage', 'server', 'client', 'demo'],
  main: ['cli'],
};

/** Packages and Node modules that only these folders may import; elsewhere not even their types. */
const RESERVED: readonly { what: string; modules: RegExp; folders: readonly string[]; typesIn?: readonly string[] }[] =
  [
    {
      what: 'protobuf',
      modules: /^(@grpc\/proto-loader$|protobufjs(\/|$))/,
      folders: ['protocol', 'server/messages'],
    },
    {
      what: 'gRPC',
      modules: /^(@grpc\/(?!proto-loader$)|grpc-health-check$)/,
      folders: ['server', 'client'],
      typesIn: ['protocol'],
    },
    { what: 'files', modules: /^node:fs/, folders: ['storage', 'cli', 'demo'] },
    { what: 'the command line', modules: /^commander$|^cli-progress$/, folders: ['cli'] },
  ];

/** Written in pieces, or this file would be its own first finding. */
const UNFINISHED = new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|${'X'.repeat(3)})\\b`);
const FOCUSED = new RegExp(`\\b(test|it|describe)\\.${'only'}\\(`);

const LINES_MAX = 400;
const CLIENT_FILES_MAX = 64;

/** src/engine/run.ts → engine; src/main.ts → main. */
const folderOf = (path: string) => path.match(/^src\/([^/]+?)(\/|\.ts$)/)?.[1] ?? '';
const isOurs = (path: string) => !path.startsWith('src/kernels/assembly/');
const ours = sourceFiles('src').filter(isOurs);
const imports = ours.flatMap((from) => importsOf(from).map((imported) => ({ from, ...imported })));
const between = imports.flatMap(({ from, file, specifier }) =>
  file !== undefined && folderOf(from) !== folderOf(file) ? [{ from, file, specifier }] : [],
);

describe('imports in src/', () => {
  test('each folder is in the table', () => {
    const folders = new Set(ours.map(folderOf));
    expect([...folders].filter((folder) => !(folder in MAY_IMPORT))).toEqual([]);
  });

  test('point one way', () => {
    const wrong = between.filter(({ from, file }) => !MAY_IMPORT[folderOf(from)]?.includes(folderOf(file)));
    expect(wrong.map(({ from, file }) => `${from} imports ${file}`)).toEqual([]);
  });

  test('go through the door of a folder, its index.ts', () => {
    const wrong = between.filter(({ file }) => !/^src\/[^/]+\/index\.ts$/.test(file));
    expect(wrong.map(({ from, file }) => `${from} imports ${file}`)).toEqual([]);
  });

  test.each(['protocol', 'engine', 'storage', 'kernels', 'server'])(
    'the door of %s exports only what another folder uses',
    (folder) => {
      const door = `src/${folder}/index.ts`;
      const users = imports.filter(({ from, file }) => file === door && folderOf(from) !== folder);
      const used = new Set(users.flatMap(({ names }) => names ?? []));
      const offered = importsOf(door).flatMap(({ names }) => names ?? []);
      expect(offered.length).toBeGreaterThan(0);
      expect(offered.filter((name) => !used.has(name))).toEqual([]);
    },
  );

  test('never reach into the build output of a dependency', () => {
    const wrong = imports.filter(({ specifier }) => /^[^.].*\/(build|dist|lib)\//.test(specifier));
    expect(wrong.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });

  test('the engine and the kernels know no Node module', () => {
    const wrong = imports.filter(
      ({ from, specifier }) => ['engine', 'kernels'].includes(folderOf(from)) && specifier.startsWith('node:'),
    );
    expect(wrong.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });

  test('the engine knows no clock and no chance', () => {
    const wrong = ours.filter(
      (path) => folderOf(path) === 'engine' && /\bDate\b|Math\.random|performance\./.test(readSource(path)),
    );
    expect(wrong).toEqual([]);
  });

  test.each(RESERVED)('only $folders know $what', ({ modules, folders, typesIn = [] }) => {
    const liesIn = (path: string, list: readonly string[]) => list.some((folder) => path.startsWith(`src/${folder}/`));
    const wrong = imports.filter(
      ({ from, specifier, typeOnly }) =>
        modules.test(specifier) && !liesIn(from, folders) && !(typeOnly && liesIn(from, typesIn)),
    );
    expect(wrong.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });

  test('form no cycle, types included', () => {
    const next = new Map(ours.map((path) => [path, [] as string[]]));
    for (const { from, file } of imports) if (file !== undefined) next.get(from)?.push(file);
    expect(findCycle(next)).toEqual([]);
  });

  test('reach every file from main.ts or the client', () => {
    const reached = closureOf('src/main.ts', 'src/client/index.ts');
    expect(ours.filter((path) => !reached.has(path))).toEqual([]);
  });

  test('of the client lead to nothing of the server, directly or not, types included', () => {
    const folders = new Set([...closureOf('src/client/index.ts')].map(folderOf));
    expect([...folders].sort()).toEqual(['client', 'common', 'protocol']);
  });

  test(`of the client load at most ${CLIENT_FILES_MAX} files, each of which a program waits for when it starts`, () => {
    const loaded = reachedBy(
      imports.filter(({ typeOnly }) => !typeOnly),
      ['src/client/index.ts'],
    );
    expect(loaded.size).toBeLessThanOrEqual(CLIENT_FILES_MAX);
  });
});

/** These files and all that they import, types included, and what that imports. */
function closureOf(...roots: string[]): ReadonlySet<string> {
  return reachedBy(imports, roots);
}

function reachedBy(edges: typeof imports, roots: readonly string[]): ReadonlySet<string> {
  const reached = new Set(roots);
  for (const path of reached) {
    for (const { from, file } of edges) if (from === path && file !== undefined) reached.add(file);
  }
  return reached;
}

/** The files of one cycle in order, or nothing. */
function findCycle(next: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return [];
    for (const file of next.get(path) ?? []) {
      const cycle = visit(file, [...trail, path]);
      if (cycle.length > 0) return cycle;
    }
    done.add(path);
    return [];
  };
  for (const path of next.keys()) {
    const cycle = visit(path, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
}

describe('files', () => {
  const all = [
    ...sourceFiles('src'),
    ...sourceFiles('test'),
    ...sourceFiles('scripts', ['.mjs']),
    ...sourceFiles('bench', ['.ts', '.mjs', '.py']),
    ...sourceFiles('python', ['.py']),
  ];

  test(`have at most ${LINES_MAX} lines`, () => {
    const long = all.map((path) => ({ path, lines: readSource(path).split('\n').length - 1 }));
    expect(long.filter(({ lines }) => lines > LINES_MAX)).toEqual([]);
  });

  test('hold no unfinished work and no focused test', () => {
    const found = all.flatMap((path) =>
      readSource(path)
        .split('\n')
        .flatMap((line, index) =>
          UNFINISHED.test(line) || FOCUSED.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [],
        ),
    );
    expect(found).toEqual([]);
  });

  test('each rpc has a test of the same name', () => {
    const rpcs = sourceFiles('src/server/rpc').filter((path) => !path.endsWith('/index.ts'));
    expect(rpcs.length).toBeGreaterThan(0);
    const tests = rpcs.map((path) => path.replace(/^src/, 'test').replace(/\.ts$/, '.test.ts'));
    expect(tests.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });
});

describe('error reasons', () => {
  const reasons = Object.keys(ERROR_TABLE);

  test('docs/errors.md has the table of src/common/errors.ts', () => {
    const rows = [...readSource('docs/errors.md').matchAll(/^\| `([A-Z_]+)` \| ([A-Z_]+) \| (yes|no) \|/gm)];
    const documented = rows.map(([, reason, code, permanent]) => [reason, { code, permanent: permanent === 'yes' }]);
    expect(new Set(documented.map(([reason]) => reason)).size, 'a reason has one row').toBe(documented.length);
    expect(Object.fromEntries(documented)).toEqual(ERROR_TABLE);
  });

  test('each is thrown somewhere', () => {
    const code = ours.filter((path) => path !== 'src/common/errors.ts').map(readSource);
    expect(reasons.filter((reason) => !code.some((text) => text.includes(`'${reason}'`)))).toEqual([]);
  });

  test('each is expected by a test', () => {
    const tests = sourceFiles('test').map(readSource);
    expect(reasons.filter((reason) => !tests.some((text) => text.includes(`'${reason}'`)))).toEqual([]);
  });
});
