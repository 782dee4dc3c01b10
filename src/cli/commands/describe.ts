import { Command } from 'commander';
import type { AverageSpec, RunInfo, TensorSpec } from '../../client/index.js';
import { addCommonFlags, type CommonOptions, flag } from '../flags/flags.js';
import { describeAverage } from '../text/describe-average.js';
import { retainedText, WRITER_COLUMNS } from '../text/describe-writers.js';
import { formatBytes, formatCount, formatDuration, formatOptional, formatShare, formatWeight } from '../text/format.js';
import { outputWidth, print, printJson } from '../text/output.js';
import { runJson } from '../text/run-json.js';
import { type Column, formatFields, formatTable } from '../text/table.js';
import { wrapWords } from '../text/wrap-words.js';
import { withClient } from '../with-client.js';

interface DescribeOptions extends CommonOptions {
  tensors?: true;
}

const TENSOR_COLUMNS: readonly Column<TensorSpec>[] = [
  { title: 'TENSOR', cell: (tensor) => tensor.name },
  { title: 'DTYPE', cell: (tensor) => tensor.dtype },
  { title: 'SHAPE', cell: (tensor) => `[${tensor.shape.join(', ')}]` },
  { title: 'POLICY', cell: (tensor) => tensor.policy ?? '-' },
];

export function describeCommand(): Command {
  const command = new Command('describe')
    .description('show the state, sizes and rates of one run')
    .argument('<RUN>', 'name of the run')
    .addOption(flag('--tensors', 'list its tensors too'));
  return addCommonFlags(command, 'print one object, the tensors in it').action(
    async (name: string, { target, json, tensors }: DescribeOptions) => {
      const run = await withClient(target, (client) => client.getRun(name));
      if (json) return printJson(runJson(run));
      const width = outputWidth();
      print(...formatFields(fields(run), width));
      print('', ...formatTable(averageColumns(run), run.averages, width));
      if (run.states.some(({ movement }) => movement !== undefined)) print(...wrapWords(MOVEMENT_LEGEND, width));
      if (run.writers > 1) print('', ...formatTable(WRITER_COLUMNS, run.writerStates, width));
      if (tensors) print('', ...formatTable(TENSOR_COLUMNS, run.tensors, width));
    },
  );
}

/** Explains the columns DISTANCE and MOVED, whose titles alone say too little. */
const MOVEMENT_LEGEND =
  'Of the last update: DISTANCE, how far its weights were from the average, relative to its length; MOVED, the share of ' +
  'its values that changed.';

function fields(run: RunInfo): [string, string][] {
  const { memory } = run;
  const sinceCommit = run.sinceCommitMs === undefined ? '' : `, ${formatDuration(run.sinceCommitMs)} ago`;
  const rate = `${run.commitsPerSecond.toFixed(1)} steps/s, ${formatBytes(run.receivedBytesPerSecond)}/s`;
  return [
    ['run', run.run],
    ['generation', String(run.generation)],
    ['committed step', formatOptional(run.committedStep) + sinceCommit],
    ['durable step', formatOptional(run.durableStep)],
    [
      'receiving',
      run.stagingStep === undefined ? '-' : `step ${run.stagingStep}, ${formatBytes(run.stagingBytes)} so far`,
    ],
    ['tensors', `${run.tensorCount}, ${formatCount(run.averagedElements)} parameters averaged`],
    ['connected', `${run.writersConnected} of ${run.writers} writers, ${run.readersConnected} readers`],
    ['last minute', `${rate} from its first commit to its last`],
    [
      'since start',
      `${run.commits} steps, ${formatBytes(run.bytesReceived)} received, ${formatBytes(run.bytesSent)} sent`,
    ],
    [
      'memory',
      `${formatBytes(memory.shadowBytes)} shadows, ${formatBytes(memory.stagingBytes)} in flight, ` +
        `${formatBytes(memory.pinnedBytes)} held or retained, ${formatBytes(memory.freeBytes)} free`,
    ],
    ['snapshots', snapshotsText(run)],
    ['retained', retainedText(run)],
    ['not finite', `${run.nonFiniteSteps} steps, the policy is ${run.nonFinite}`],
    ['server budget', `${formatBytes(memory.budgetFreeBytes)} free of ${formatBytes(memory.budgetBytes)}`],
  ];
}

function snapshotsText({ snapshots, memory }: RunInfo): string {
  if (snapshots.length === 0) return '-';
  const steps = [...new Set(snapshots.map(({ step }) => step))];
  return `${snapshots.length}, ${formatBytes(memory.snapshotBytes)}, of steps ${steps[0]} to ${steps.at(-1)}`;
}

function averageColumns(run: RunInfo): readonly Column<AverageSpec>[] {
  const state = (average: AverageSpec) => run.states.find(({ name }) => name === average.name);
  return [
    { title: 'AVERAGE', cell: (average) => average.name ?? '' },
    { title: 'UPDATES', align: 'right', cell: (average) => formatOptional(state(average)?.numUpdates) },
    { title: 'LAST WEIGHT', align: 'right', dropRank: 1, cell: (average) => formatWeight(state(average)?.weight) },
    // DISTANCE and MOVED show whether the average still moves: it stands still when MOVED is 0 % and DISTANCE is not.
    {
      title: 'DISTANCE',
      align: 'right',
      dropRank: 3,
      cell: (average) => formatShare(state(average)?.movement?.distanceRel),
    },
    {
      title: 'MOVED',
      align: 'right',
      dropRank: 2,
      cell: (average) => formatShare(state(average)?.movement?.changedShare),
    },
    { title: 'RULE', wraps: true, cell: describeAverage },
  ];
}
