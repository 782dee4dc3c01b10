import { Command } from 'commander';
import { addCommonFlags, type CommonOptions } from '../flags/flags.js';
import { averagesFromText } from '../push/push-averages.js';
import { describeAverage } from '../text/describe-average.js';
import { formatOptional } from '../text/format.js';
import { print, printJson } from '../text/output.js';
import { averageJson } from '../text/run-json.js';
import { withClient } from '../with-client.js';

/** Changes the averages of a run that is under way. */
export function averageCommand(): Command {
  return new Command('average')
    .description('add an average to a run, or remove one')
    .addCommand(addCommand())
    .addCommand(removeCommand());
}

function addCommand(): Command {
  const command = new Command('add')
    .description('add an average, which starts with the next step')
    .argument('<RUN>', 'name of the run')
    .argument('<TEXT>', '[NAME=]PRESET[:option=value,...], as "presets" lists them');
  return addCommonFlags(command, 'print one object a line, for each average').action(add);
}

async function add(run: string, text: string, { target, json }: CommonOptions): Promise<void> {
  const averages = averagesFromText(text);
  await withClient(target, async (client) => {
    for (const average of averages) {
      const { addedAtStep } = await client.addAverage(run, average);
      if (json) printJson({ run, average: averageJson(average), addedAtStep });
      else print(`added ${average.name} at step ${formatOptional(addedAtStep)}: ${describeAverage(average)}`);
    }
  });
}

function removeCommand(): Command {
  const command = new Command('remove')
    .description('remove an average and its memory')
    .argument('<RUN>', 'name of the run')
    .argument('<NAME>', 'name of the average');
  return addCommonFlags(command, 'print one object: {"run":…,"average":…}').action(
    async (run: string, average: string, { target, json }: CommonOptions) => {
      await withClient(target, (client) => client.removeAverage(run, average));
      if (json) printJson({ run, average });
      else print(`removed ${average} of ${run}`);
    },
  );
}
