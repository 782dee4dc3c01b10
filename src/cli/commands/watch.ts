import { Command } from 'commander';
import type { RunEvent } from '../../client/index.js';
import { OperationError } from '../exit.js';
import { addCommonFlags, type CommonOptions, flag } from '../flags/flags.js';
import { integer } from '../flags/values.js';
import { interruptible } from '../interrupt.js';
import { formatOptional, formatWeight } from '../text/format.js';
import { print, printJson } from '../text/output.js';
import { withClient } from '../with-client.js';

interface WatchOptions extends CommonOptions {
  every?: number;
  untilStep?: number;
}

export function watchCommand(): Command {
  const command = new Command('watch')
    .description('print each commit of a run as it happens, the present state first')
    .argument('<RUN>', 'name of the run')
    .addOption(flag('--every <N>', 'only steps that are multiples of N').argParser(integer('--every', 1)))
    .addOption(
      flag('--until-step <S>', 'exit with 0 once step S or a later one is committed').argParser(
        integer('--until-step', 0),
      ),
    );
  return addCommonFlags(command, 'print one object a line').action(watch);
}

async function watch(run: string, { target, json, every, untilStep = Number.POSITIVE_INFINITY }: WatchOptions) {
  await interruptible((signal) =>
    withClient(target, async (client) => {
      for await (const event of client.watchRun(run, { every, signal })) {
        if (json) printJson(event);
        else print(describe(event));
        if (event.committedStep !== undefined && event.committedStep >= untilStep) return;
      }
      throw new OperationError('WATCH_ENDED', `the service ended the watch of ${run}`);
    }),
  );
}

function describe(event: RunEvent): string {
  if (event.committedStep === undefined) return 'nothing committed yet';
  const averages = event.averages.map(
    ({ name, numUpdates, weight }) => `${name}: ${numUpdates} updates, weight ${formatWeight(weight)}`,
  );
  return [`step ${event.committedStep}`, `durable ${formatOptional(event.durableStep)}`, ...averages].join('  ');
}
