// Measures the service against its peers; bench/README.md says what and how.
//
//   npm run bench -- [NAME…] [--json] [--pairs N] [--save] [--quick]
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { pythonForTests } from '../scripts/python-env.mjs';
import { averages } from './averages.mjs';
import { followers } from './followers.mjs';
import { describeMachine, pythonVersions } from './harness/machine.mjs';
import { ROOT } from './harness/processes.mjs';
import { buildResult, formatTable } from './harness/report.mjs';
import { health } from './health.mjs';
import { ingest } from './ingest.mjs';
import { kernel } from './kernel.mjs';
import { memory } from './memory.mjs';
import { pull } from './pull.mjs';
import { scaling } from './scaling.mjs';
import { stall } from './stall.mjs';
import { writers } from './writers.mjs';

const BENCHMARKS = [ingest, pull, kernel, averages, stall, memory, scaling, health, writers, followers];
const NAMES = BENCHMARKS.map(({ name }) => name);

const PAIRS_DEFAULT = 5;
const PAIRS_QUICK = 2;
const PAIRS_MAX = 100;

const USAGE = `npm run bench -- [NAME…] [--json] [--pairs N] [--save] [--quick]

NAME       ${NAMES.join(', ')}; none: all of them
--json     print one JSON object on the last line instead of a table
--pairs N  rounds in which each contender is measured once, default ${PAIRS_DEFAULT}
--save     write bench/results/<NAME>.json too
--quick    tiny sizes: shows that everything runs, the figures mean nothing

Without NAME the results are also written to bench/results/latest.local.json, which git ignores.`;

function parseCommand() {
  const options = {
    json: { type: 'boolean' },
    pairs: { type: 'string' },
    save: { type: 'boolean' },
    quick: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const unknown = positionals.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new Error(`there is no benchmark ${unknown}, one of ${NAMES.join(', ')} is`);
  const pairs = Number(values.pairs ?? (values.quick ? PAIRS_QUICK : PAIRS_DEFAULT));
  if (!Number.isInteger(pairs) || pairs < 1 || pairs > PAIRS_MAX) {
    throw new Error(`--pairs must be an integer from 1 to ${PAIRS_MAX}, got ${values.pairs}`);
  }
  return { json: false, save: false, quick: false, help: false, ...values, names: positionals, pairs };
}

/** Shows progress on standard error: on a terminal as one line that is overwritten. */
function reporter(name) {
  const isTerminal = process.stderr.isTTY;
  return (text) => process.stderr.write(isTerminal ? `\r\x1b[K${name}: ${text}` : `${name}: ${text}\n`);
}

function whyNot(benchmark, python, versions) {
  if (benchmark.needs.length > 0 && python.python === undefined) return python.skipReason ?? python.error;
  const missing = benchmark.needs.filter((package_) => versions[package_] === undefined);
  if (missing.length > 0) return `${python.python} lacks ${missing.join(' and ')}`;
  return benchmark.unavailable?.();
}

async function measure(benchmark, command, python, versions) {
  const skipped = whyNot(benchmark, python, versions);
  if (skipped !== undefined) {
    console.error(`SKIPPED ${benchmark.name}: ${skipped}`);
    return { benchmark: benchmark.name, skipped };
  }
  const progress = reporter(benchmark.name);
  const conditions = { pairs: command.pairs, quick: command.quick, machine: describeMachine(versions) };
  const measured = await benchmark.run({ pairs: command.pairs, quick: command.quick, python: python.python, progress });
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return buildResult(benchmark, measured, conditions);
}

function write(file, value) {
  const folder = `${ROOT}/bench/results`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/${file}`, `${JSON.stringify(value, undefined, 2)}\n`);
  console.error(`wrote bench/results/${file}`);
}

async function main(command) {
  if (command.help) return console.log(USAGE);
  const python = pythonForTests(ROOT);
  const needed = new Set(BENCHMARKS.flatMap(({ needs }) => needs));
  const versions = python.python === undefined ? {} : pythonVersions(python.python, [...needed]);
  const results = [];
  for (const benchmark of BENCHMARKS) {
    if (command.names.length > 0 && !command.names.includes(benchmark.name)) continue;
    const result = await measure(benchmark, command, python, versions);
    results.push(result);
    if (command.save && result.skipped === undefined) write(`${result.benchmark}.json`, result);
  }
  if (command.names.length === 0) write('latest.local.json', results);
  if (!command.json) console.log(formatTable(results));
  else console.log(JSON.stringify(results.length === 1 ? results[0] : { results }));
}

let command;
try {
  command = parseCommand();
} catch (error) {
  console.error(`${error.message}\n\n${USAGE}`);
  process.exit(2);
}
await main(command);
