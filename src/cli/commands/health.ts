import { Command } from 'commander';
import { checkHealth, silenceTransportLog } from '../../client/index.js';
import { OperationError } from '../exit.js';
import { addCommonFlags, type CommonOptions, flag } from '../flags/flags.js';
import { duration } from '../flags/values.js';
import { print, printJson } from '../text/output.js';

interface HealthOptions extends CommonOptions {
  timeout: number;
}

/** Default wait for the answer. It is shorter than the timeout of the container's own health check. */
const TIMEOUT_MS = 3_000;

export function healthCommand(): Command {
  const command = new Command('health')
    .description('ask whether the service serves; for probes')
    .addOption(
      flag('--timeout <TIME>', 'wait this long for the answer')
        .argParser(duration('--timeout', 3_600_000))
        .default(TIMEOUT_MS, '3s'),
    );
  return addCommonFlags(command, 'print one object: {"status":"SERVING"}').action(
    async ({ target, json, timeout }: HealthOptions) => {
      const status = await ask(target, timeout);
      if (json) printJson({ status });
      else print(status);
      if (status !== 'SERVING') throw new OperationError('NOT_SERVING', `the service at ${target} is ${status}`);
    },
  );
}

async function ask(target: string, timeoutMs: number) {
  silenceTransportLog();
  return await checkHealth(target, { timeoutMs });
}
