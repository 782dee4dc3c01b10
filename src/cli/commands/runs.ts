import { Command } from 'commander';
import type { RunInfo } from '../../client/index.js';
import { addCommonFlags, type CommonOptions } from '../flags.js';
import { formatBytes, formatCount, formatOptional } from '../format.js';
import { print, printJson } from '../output.js';
import { type Column, formatTable } from '../table.js';
import { withClient } from '../with-client.js';

const COLUMNS: readonly Column<RunInfo>[] = [
  { title: 'RUN', cell: (run) => run.run },
  { title: 'STEP', align: 'right', cell: (run) => formatOptional(run.committedStep) },
  { title: 'DURABLE', align: 'right', cell: (run) => formatOptional(run.durableStep) },
  { title: 'STEPS/S', align: 'right', cell: (run) => run.commitsPerSecond.toFixed(1) },
  { title: 'TENSORS', align: 'right', cell: (run) => String(run.tensorCount) },
  { title: 'PARAMETERS', align: 'right', cell: (run) => formatCount(run.averagedElements) },
  { title: 'SHADOWS', align: 'right', cell: (run) => formatBytes(run.memory.shadowBytes) },
  { title: 'WRITERS', align: 'right', cell: (run) => String(run.writersConnected) },
  { title: 'READERS', align: 'right', cell: (run) => String(run.readersConnected) },
  { title: 'AVERAGES', cell: (run) => run.states.map((state) => state.name).join(', ') },
];

export function runsCommand(): Command {
  const command = new Command('runs').description('list the runs of a service');
  return addCommonFlags(command, 'print one object: {"runs":[…],"damaged":[…]}').action(
    async ({ target, json }: CommonOptions) => {
      const { runs, damaged } = await withClient(target, async (client) => {
        return { runs: await client.listRuns(), damaged: await client.listDamagedRuns() };
      });
      if (json) {
        printJson({ runs, damaged });
        return;
      }
      print(runs.length === 0 ? 'no runs' : formatTable(COLUMNS, runs));
      for (const { run, problem } of damaged) print(`${run} cannot be served: ${problem}`);
    },
  );
}
