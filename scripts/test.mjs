// Runs all tests and ends with one line, `N passed, N failed, N skipped`, over all suites; exit code 1 on a failure.
//
//   node scripts/test.mjs            TypeScript with SIMD kernels, engine and server again with scalar ones, Python
//   node scripts/test.mjs PATH…      only these TypeScript tests, once
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pythonForTests } from './python-env.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);

/** The folders whose behaviour depends on the kernels in use. */
const KERNEL_DEPENDENT = ['test/engine', 'test/server'];

/** @typedef {{ name: string, passed: number, failed: number, skipped: number, skips: string[] }} Suite */

/** Runs a program to its end; what it prints comes at once, or with `later` in one piece at its end. */
function execute(program, args, options, later = false) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      ...options,
      stdio: ['ignore', later ? 'pipe' : 'inherit', later ? 'pipe' : 'inherit'],
    });
    const output = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => output.push(data));
    child.on('error', (error) => output.push(`${error}\n`));
    child.on('close', (status) => {
      for (const piece of output) process.stdout.write(piece);
      resolve(status);
    });
  });
}

/** @returns {Promise<Suite>} */
async function vitest(name, paths, env, reportDir) {
  const report = join(reportDir, `${name.replaceAll(/\W+/g, '-')}.json`);
  console.log(`\n== ${name}`);
  const status = await execute(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...paths,
    ],
    { env: { ...process.env, ...env } },
  );
  const suite = { name, passed: 0, failed: 0, skipped: 0, skips: [] };
  for (const file of readReport(report)) {
    // A file that cannot be loaded has no tests and is a failure all the same.
    if (file.status === 'failed' && file.assertionResults.length === 0) suite.failed += 1;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') suite.passed += 1;
      else if (test.status === 'failed') suite.failed += 1;
      else {
        suite.skipped += 1;
        suite.skips.push(test.fullName);
      }
    }
  }
  return withExitStatus(suite, status);
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).testResults;
  } catch {
    return [];
  }
}

/** An error outside a test (an unhandled rejection, a crashed worker) shows only in the exit status. */
function withExitStatus(suite, status) {
  if (status !== 0 && suite.failed === 0) suite.failed = 1;
  return suite;
}

/** @returns {Promise<Suite>} */
async function pytest(python, reportDir) {
  const name = 'Python';
  const report = join(reportDir, 'python.xml');
  const options = {
    cwd: 'python',
    // A Python that was given has the package's requirements, not the package.
    env: {
      ...process.env,
      PYTHONPATH: [join(root, 'python', 'src'), process.env.PYTHONPATH].filter(Boolean).join(':'),
    },
  };
  // A file's tests stay in one of the two processes: what they share is made once.
  const workers = ['-n', '2', '--dist', 'loadfile'];
  const command = ['-m', 'pytest', '-q', '-rs', ...workers, `--junitxml=${report}`, 'tests'];
  const status = await execute(python, command, options, true);
  console.log(`\n== ${name} (${python}): above`);
  const suite = { name, passed: 0, failed: 0, skipped: 0, skips: [] };
  const attributes = readXml(report).match(/<testsuite [^>]*>/)?.[0] ?? '';
  const count = (key) => Number(attributes.match(new RegExp(` ${key}="(\\d+)"`))?.[1] ?? 0);
  suite.failed = count('failures') + count('errors');
  suite.skipped = count('skipped');
  suite.passed = count('tests') - suite.failed - suite.skipped;
  return withExitStatus(suite, status);
}

function readXml(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function allSuites(reportDir) {
  const { python, skipReason, error } = pythonForTests(root);
  // The README's Python blocks run in the TypeScript suite.
  const env = python === undefined ? {} : { SHADOWKEEP_PYTHON: python };
  // Beside the others: Python's tests wait for their processes most of the time.
  const pythonSuite = python === undefined ? undefined : pytest(python, reportDir);
  const scalar = { ...env, SHADOWKEEP_KERNELS: 'scalar' };
  const suites = [
    await vitest('TypeScript', [], env, reportDir),
    await vitest('TypeScript, scalar kernels', KERNEL_DEPENDENT, scalar, reportDir),
  ];
  if (pythonSuite !== undefined) return [...suites, await pythonSuite];
  if (skipReason !== undefined) {
    suites.push({ name: 'Python', passed: 0, failed: 0, skipped: 1, skips: [`all of it: ${skipReason}`] });
  } else {
    console.error(error);
    suites.push({ name: 'Python', passed: 0, failed: 1, skipped: 0, skips: [] });
  }
  return suites;
}

const paths = process.argv.slice(2);
const reportDir = mkdtempSync(join(tmpdir(), 'shadowkeep-test-'));
let suites;
try {
  suites =
    paths.length > 0
      ? [await vitest(`TypeScript, Node ${process.version}`, paths, {}, reportDir)]
      : await allSuites(reportDir);
} finally {
  rmSync(reportDir, { recursive: true, force: true });
}

const total = (key) => suites.reduce((sum, suite) => sum + suite[key], 0);
const column = (number) => String(number).padStart(6);
console.log('');
for (const suite of suites) for (const skip of suite.skips) console.log(`SKIPPED ${suite.name}: ${skip}`);
for (const { name, passed, failed, skipped } of suites) {
  console.log(`${column(passed)} passed ${column(failed)} failed ${column(skipped)} skipped  ${name}`);
}
console.log(`${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
process.exitCode = total('failed') > 0 ? 1 : 0;
