import { basename } from 'node:path';
import { Command } from 'commander';
import type { Ack, AverageStart, RunHandle, TensorReader } from '../../client/index.js';
import { assert } from '../../common/index.js';
import { readSafetensorsHeader, type SafetensorsFile, SafetensorsReader } from '../../storage/index.js';
import { OperationError } from '../exit.js';
import { addCommonFlags, type CommonOptions, flag } from '../flags/flags.js';
import { integer, list, oneOf } from '../flags/values.js';
import { interruptible } from '../interrupt.js';
import { type AverageFlags, averagesOf, collectAverages, emaFlag } from '../push/push-averages.js';
import { layoutFor } from '../push/push-layout.js';
import { stepsOf } from '../push/push-steps.js';
import { formatBytes, formatDuration } from '../text/format.js';
import { print, printJson } from '../text/output.js';
import { type Progress, startProgress } from '../text/progress.js';
import { withClient } from '../with-client.js';

interface PushOptions extends CommonOptions, AverageFlags {
  step?: number;
}

const STARTS = ['ZEROS', 'INITIAL', 'FIRST'] as const satisfies readonly AverageStart[];

const EXPLANATION = `
Each file is one step, folded in the order of the command line: step N and the
ones after it with --step N, otherwise the step in the file's metadata or at
the end of its name (step_000100.safetensors). A step that the run has already
is acknowledged and not folded again; one that it refuses, for a NaN in it, ends
the push, and the files after it are not sent. A run that does not exist is
created with the layout of the first file. Where an average starts from INITIAL
(--start, or its preset) the first file is registered, not folded.`;

export function pushCommand(): Command {
  const command = new Command('push')
    .description('fold checkpoint files into a run')
    .argument('<RUN>', 'name of the run')
    .argument('<FILE...>', 'safetensors files')
    .addOption(flag('--step <N>', 'step of the first file').argParser(integer('--step', 0)))
    .addOption(
      flag(
        '--average <TEXT>',
        'an average of a new run, as ema=timm-v3:decay=0.9998; "presets" lists them; repeat it for more',
      ).argParser(collectAverages),
    )
    .addOption(
      flag('--ema <NAME=DECAY>', 'a moving average of a new run; repeat it or separate by commas').argParser(
        list(emaFlag),
      ),
    )
    .addOption(
      flag('--mean <NAME>', 'a plain average of a new run; repeat it or separate by commas').argParser(list(String)),
    )
    .addOption(
      flag('--start <START>', `what the moving averages are before: ${STARTS.join(', ')}; default FIRST`).argParser(
        oneOf('--start', STARTS),
      ),
    )
    .addHelpText('after', EXPLANATION);
  return addCommonFlags(command, 'print one object a line, for each file').action(push);
}

async function push(name: string, paths: readonly string[], options: PushOptions): Promise<void> {
  const { target, step, json = false } = options;
  const files: SafetensorsFile[] = [];
  for (const path of paths) files.push(await readSafetensorsHeader(path));
  const steps = stepsOf(files, step);
  await interruptible((signal) =>
    withClient(target, async (client) => {
      const layout = await layoutFor(client, name, files, averagesOf(options));
      const run = await client.openRun({ run: name, ...layout });
      const abort = () => run.abort();
      signal.addEventListener('abort', abort);
      try {
        const needsInitial =
          run.committedStep === undefined && layout.averages.some((average) => average.start === 'INITIAL');
        await pushFiles(run, files, steps, needsInitial, json);
        await run.close();
      } catch (error) {
        run.abort();
        signal.throwIfAborted();
        throw error;
      } finally {
        signal.removeEventListener('abort', abort);
      }
    }),
  );
}

async function pushFiles(
  run: RunHandle,
  files: readonly SafetensorsFile[],
  steps: readonly number[],
  needsInitial: boolean,
  json: boolean,
): Promise<void> {
  for (const [index, file] of files.entries()) {
    const startedMs = performance.now();
    const progress = startProgress(`push ${basename(file.path)}`, dataBytes(file), json);
    try {
      const ack = await pushFile(run, file, steps[index]!, needsInitial && index === 0, progress);
      progress.stop();
      if (json || isInRun(ack)) report(file, ack, performance.now() - startedMs, json);
      refuseLost(file, ack, files.length - index - 1);
    } finally {
      progress.stop();
    }
  }
}

function isInRun({ state }: Ack): boolean {
  return state === 'COMMITTED' || state === 'ALREADY_COMMITTED';
}

/**
 * Throws when a step was not folded, which ends the push. Later files are not folded without the missing one, because
 * that would be another average, and the caller must decide about it.
 */
function refuseLost(file: SafetensorsFile, ack: Ack, leftCount: number): void {
  if (isInRun(ack)) return;
  const { step, state, detail } = ack;
  const why = detail === undefined ? '' : `: ${detail}`;
  const left = leftCount === 0 ? '' : `; ${leftCount} ${leftCount === 1 ? 'file' : 'files'} after it not sent`;
  throw new OperationError(`STEP_${state}`, `step ${step} of ${file.path} is not in the run${why}${left}`);
}

/** Streams one file as one step, with a few pieces in memory at a time. */
async function pushFile(
  run: RunHandle,
  file: SafetensorsFile,
  step: number,
  isInitial: boolean,
  progress: Progress,
): Promise<Ack> {
  const reader = await SafetensorsReader.open(file.path);
  const byName = new Map(reader.file.tensors.map((tensor) => [tensor.name, tensor]));
  const read: TensorReader = async function* ({ name }) {
    const tensor = byName.get(name);
    assert(tensor !== undefined, 'the file was compared with the layout');
    for await (const piece of reader.readTensor(tensor)) {
      yield piece;
      progress.advance(piece.length);
    }
  };
  try {
    return await (isInitial ? run.pushInitial(step, read) : run.update(step, read));
  } finally {
    await reader.close();
  }
}

function dataBytes(file: SafetensorsFile): number {
  return file.fileBytes - file.dataBegin;
}

function report(file: SafetensorsFile, ack: Ack, ms: number, json: boolean): void {
  const bytes = dataBytes(file);
  if (json) printJson({ file: file.path, bytes, ...ack });
  else {
    const found = ack.detail === undefined ? '' : ` (${ack.detail})`;
    print(`step ${ack.step} ${ack.state}${found}: ${file.path}, ${formatBytes(bytes)} in ${formatDuration(ms)}`);
  }
}
