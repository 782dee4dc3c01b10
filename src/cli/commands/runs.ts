import { Command } from 'commander';
import type { RunInfo } from '../../client/index.js';
import { addCommonFlags, type CommonOptions } from '../flags/flags.js';
import { formatBytes, formatCount, formatOptional } from '../text/format.js';
import { outputWidth, print, printJson } from '../text/output.js';
import { runJson } from '../text/run-json.js';
import { type Column, formatTable } from '../text/table.js';
import { withClient } from '../with-client.js';

const COLUMNS: readonly Column<RunInfo>[] = [
  { title: 'RUN', cell: (run) => run.run },
  { title: 'STEP', align: 'right', cell: (run) => formatOptional(run.committedStep) },
  { title: 'DURABLE', align: 'right', dropRank: 2, cell: (run) => formatOptional(run.durableStep) },
  { title: 'STEPS/S', align: 'right', dropRank: 1, cell: (run) => run.commitsPerSecond.toFixed(1) },
  { title: 'TENSORS', align: 'right', dropRank: 7, cell: (run) => String(run.tensorCount) },
  { title: 'PARAMETERS', align: 'right', dropRank: 6, cell: (run) => formatCount(run.averagedElements) },
  { title: 'SHADOWS', align: 'right', dropRank: 5, cell: (run) => formatBytes(run.memory.shadowBytes) },
  { title: 'WRITERS', align: 'right', dropRank: 3, cell: (run) => String(run.writersConnected) },
  { title: 'READERS', align: 'right', dropRank: 4, cell: (run) => String(run.readersConnected) },
  { title: 'AVERAGES', wraps: true, cell: (run) => run.states.map((state) => state.name).join(', ') },
];

export function runsCommand(): Command {
  const command = new Command('runs').aliases(['list', 'ls']).description('list the runs of a service');
  return addCommonFlags(command, 'print one object: {"runs":[…],"damaged":[…]}').action(
    async ({ target, json }: CommonOptions) => {
      const { runs, damaged } = await withClient(target, async (client) => {
        return { runs: await client.listRuns(), damaged: await client.listDamagedRuns() };
      });
      if (json) {
        printJson({ runs: runs.map(runJson), damaged });
        return;
      }
      print(...(runs.length === 0 ? ['no runs'] : formatTable(COLUMNS, runs, outputWidth())));
      for (const { run, problem } of damaged) print(`${run} cannot be served: ${problem}`);
    },
  );
}
