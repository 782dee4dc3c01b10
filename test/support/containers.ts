import { spawnSync } from 'node:child_process';

// Its reaper is one more image to pull; the tests here remove what they made.
process.env['TESTCONTAINERS_RYUK_DISABLED'] ??= 'true';

/** The image that the Dockerfile starts from. */
const BASE_IMAGE = 'node:24-bookworm-slim';
const PULL_TIMEOUT_MS = 120_000;

const succeeds = (command: string, args: readonly string[], timeoutMs = 20_000) =>
  spawnSync(command, args, { stdio: 'ignore', timeout: timeoutMs }).status === 0;

/** Why the image cannot be built here, if it cannot. */
export function whyNoContainers(): string | undefined {
  if (!succeeds('docker', ['version'])) return 'no container engine answers';
  if (succeeds('docker', ['image', 'inspect', BASE_IMAGE])) return undefined;
  if (succeeds('docker', ['pull', '--quiet', BASE_IMAGE], PULL_TIMEOUT_MS)) return undefined;
  return `${BASE_IMAGE} is not here and cannot be pulled`;
}

/** `docker compose`, or the older program of its own. */
export function composeCommand(): readonly string[] | undefined {
  return [['docker', 'compose'], ['docker-compose']].find(([command = '', ...args]) =>
    succeeds(command, [...args, 'version']),
  );
}

/** For the name of a suite, so that a skip tells its reason. */
export const skipNote = (reason: string | undefined) => (reason === undefined ? '' : ` (SKIPPED: ${reason})`);
