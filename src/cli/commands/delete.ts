import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { escapeUnprintable } from '../../common/index.js';
import { OperationError, UsageError } from '../exit.js';
import { addCommonFlags, type CommonOptions, flag } from '../flags/flags.js';
import { formatBytes } from '../text/format.js';
import { print, printError, printJson } from '../text/output.js';
import { withClient } from '../with-client.js';

interface DeleteOptions extends CommonOptions {
  yes?: true;
}

export function deleteCommand(): Command {
  const command = new Command('delete')
    .description('delete a run: its weights in memory and on disk')
    .argument('<RUN>', 'name of the run')
    .addOption(flag('--yes', 'do not ask'));
  return addCommonFlags(command, 'print one object: {"run":…,"freedBytes":…}').action(
    async (run: string, { target, json, yes }: DeleteOptions) => {
      if (!yes) await confirm(run, target);
      const { freedBytes } = await withClient(target, (client) => client.deleteRun(run));
      if (json) printJson({ run, freedBytes });
      else print(`deleted ${run}, ${formatBytes(freedBytes)} freed`);
    },
  );
}

async function confirm(run: string, target: string): Promise<void> {
  if (!process.stdin.isTTY) throw new UsageError('delete needs --yes where nobody can be asked');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const question = escapeUnprintable(`Delete ${run} at ${target} with all its weights? Type its name: `);
    // The end of the input and Ctrl-C mean no. Neither ends the line of the question, so an empty line is printed.
    const answer = await terminal.question(question).catch(() => printError(''));
    if (answer?.trim() !== run) throw new OperationError('NOT_CONFIRMED', 'not deleted');
  } finally {
    terminal.close();
  }
}
