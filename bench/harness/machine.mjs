import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem, type } from 'node:os';

const VERSIONS = `
import importlib.metadata as metadata, json, platform, sys
found = {"python": platform.python_version()}
for package in sys.argv[1:]:
    try:
        found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
`;

/** Describes the machine and the versions that the figures were measured with. */
export function describeMachine(versions) {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.versions.node,
    ...versions,
    load_at_start: Math.round(loadavg()[0] * 100) / 100,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** The version of Python, and those of the `packages` that are installed. */
export function pythonVersions(python, packages) {
  return JSON.parse(execFileSync(python, ['-c', VERSIONS, ...packages], { encoding: 'utf8' }));
}
