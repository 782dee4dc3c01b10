// Finds the Python that runs the Python tests, or makes it: a virtual environment in python/.venv.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** `requires-python` of python/pyproject.toml. */
const VERSION_MIN = [3, 11];
const CANDIDATES = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python'];

/** Prints what the tests need, one requirement a line. */
const TEST_REQUIREMENTS = `import tomllib
project = tomllib.load(open("python/pyproject.toml", "rb"))["project"]
print("\\n".join(project["optional-dependencies"]["test"]))`;

/**
 * `SHADOWKEEP_PYTHON`, taken as it is, or python/.venv, made when it is not there and refreshed when pyproject.toml
 * has changed.
 *
 * @returns {{ python?: string, skipReason?: string, error?: string }} one of them
 */
export function pythonForTests(root) {
  const given = process.env.SHADOWKEEP_PYTHON;
  if (given)
    return existsSync(given) ? { python: resolve(given) } : { error: `SHADOWKEEP_PYTHON: there is no ${given}` };

  const venv = join(root, 'python', '.venv');
  const python = join(venv, 'bin', 'python');
  const stamp = join(venv, 'installed-from');
  const pyproject = createHash('sha256')
    .update(readFileSync(join(root, 'python', 'pyproject.toml')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === pyproject) return { python };

  const base = CANDIDATES.find(isNewEnough);
  if (base === undefined) return { skipReason: `there is no Python ${VERSION_MIN.join('.')} or newer` };
  if (!run(base, ['-c', 'import ensurepip, venv']).ok) {
    return { skipReason: `${base} cannot make virtual environments (Debian: apt install python3-venv)` };
  }
  console.log(`Installing the Python package and what its tests need in ${venv}`);
  const made = run(base, ['-m', 'venv', '--clear', venv]);
  if (!made.ok) return { error: `Cannot make ${venv}:\n${made.output}` };
  // PyTorch is gigabytes: its tests run where SHADOWKEEP_PYTHON names a Python that has it, and say that they skip here.
  const wanted = run(python, ['-c', TEST_REQUIREMENTS], root).output.trim().split('\n');
  const installed = run(python, ['-m', 'pip', 'install', '--quiet', '--editable', join(root, 'python'), ...wanted]);
  if (!installed.ok) return { error: `Cannot install the Python package:\n${installed.output}` };
  writeFileSync(stamp, pyproject);
  return { python };
}

function isNewEnough(command) {
  return run(command, ['-c', `import sys; sys.exit(sys.version_info < (${VERSION_MIN.join(', ')}))`]).ok;
}

function run(command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { ok: status === 0, output: `${stdout ?? ''}${stderr ?? ''}` };
}
