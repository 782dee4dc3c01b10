import { Command } from 'commander';
import type { FloatDType, ShadowkeepClient, ShadowRead } from '../../client/index.js';
import { FLOAT_DTYPES, SIGMA_REL_MAX, WAIT_MS_MAX } from '../../common/index.js';
import {
  createShadowFiles,
  DIRECTORY_LAYOUTS,
  type DirectoryLayout,
  type ShadowFilesResult,
  StorageError,
} from '../../storage/index.js';
import { UsageError } from '../exit.js';
import { type BoxFlag, collectBoxes } from '../flags/box-flag.js';
import { addCommonFlags, type CommonOptions, flag } from '../flags/flags.js';
import { byteSize, duration, integer, list, number, oneOf } from '../flags/values.js';
import { interruptible } from '../interrupt.js';
import { formatBytes, formatDuration, formatShare } from '../text/format.js';
import { print, printJson } from '../text/output.js';
import { startProgress } from '../text/progress.js';
import { withClient } from '../with-client.js';

interface PullOptions extends CommonOptions {
  out: string;
  average?: string;
  sigmaRel?: number;
  gamma?: number;
  step?: number;
  minStep?: number;
  wait?: number;
  dtype?: FloatDType;
  names?: string[];
  box?: BoxFlag[];
  overwrite?: true;
  shardBytes?: number;
  layout?: DirectoryLayout;
}

const EXPLANATION = `
PATH is a file that ends in .safetensors, or a directory (a new one's name ends
in /), which gets model.safetensors, or diffusion_pytorch_model.safetensors
where --layout or what lies there says diffusers. Over --shard-bytes the model
is cut into shards with an index beside them, as from_pretrained loads them. Until all
bytes are there nothing appears under the final names; a failure or an
interrupt leaves nothing.`;

export function pullCommand(): Command {
  const command = new Command('pull')
    .description('write the averaged weights of one step to safetensors')
    .usage('<RUN> --out <PATH> [options]')
    .argument('<RUN>', 'name of the run')
    .addOption(flag('--out <PATH>', 'file or directory to write').makeOptionMandatory())
    .addOption(flag('--average <NAME>', 'which average; needed when the run has several'))
    .addOption(
      flag('--sigma-rel <WIDTH>', 'a power-function average of this relative width, combined from snapshots')
        .argParser(number('--sigma-rel', 0, SIGMA_REL_MAX))
        .conflicts(['average', 'gamma']),
    )
    .addOption(flag('--gamma <GAMMA>', 'the same by its exponent').argParser(number('--gamma', 0)).conflicts('average'))
    .addOption(flag('--step <N>', 'exactly this step').argParser(integer('--step', 0)).conflicts('minStep'))
    .addOption(flag('--min-step <N>', 'the newest step, at least N').argParser(integer('--min-step', 0)))
    .addOption(
      flag('--wait <TIME>', 'wait this long for the run, and for the step or its first one').argParser(
        duration('--wait', WAIT_MS_MAX),
      ),
    )
    .addOption(
      flag('--dtype <DTYPE>', `cast the averaged tensors: ${FLOAT_DTYPES.join(', ')}`).argParser(
        oneOf('--dtype', FLOAT_DTYPES),
      ),
    )
    .addOption(
      flag('--names <PATTERN>', 'only these tensors; * matches anything; repeat it or separate by commas').argParser(
        list(String),
      ),
    )
    .addOption(
      flag('--box <BOX>', "only this part of a tensor, as 'weight[0:4,2:8]'; repeat it for more")
        .argParser(collectBoxes)
        .conflicts('names'),
    )
    .addOption(
      flag('--layout <LIBRARY>', `names of the files in a directory: ${DIRECTORY_LAYOUTS.join(', ')}`).argParser(
        oneOf('--layout', DIRECTORY_LAYOUTS),
      ),
    )
    .addOption(flag('--overwrite', 'replace files that are there'))
    .addOption(
      flag('--shard-bytes <BYTES>', 'cut files at this size; default 5GB').argParser(byteSize('--shard-bytes', 1)),
    )
    .addHelpText('after', EXPLANATION);
  return addCommonFlags(command, 'print one object: what was written where').action(pull);
}

async function pull(run: string, options: PullOptions): Promise<void> {
  if (options.out === '') throw new UsageError('--out must name a file or a directory, got ""');
  const startedMs = performance.now();
  await interruptible((signal) =>
    withClient(options.target, async (client) => {
      const read = await startRead(client, run, options, signal);
      try {
        const written = await writeFiles(read, options);
        report(read, written, performance.now() - startedMs, options);
      } finally {
        read.cancel();
      }
    }),
  );
}

function startRead(client: ShadowkeepClient, run: string, options: PullOptions, signal: AbortSignal) {
  const { average, sigmaRel, gamma, step, minStep, wait, names, dtype } = options;
  const boxes = options.box?.map(({ box }) => box);
  return client.readShadow({ run, average, sigmaRel, gamma, step, minStep, waitMs: wait, names, boxes, dtype, signal });
}

/** Streams the read into files, with one piece in memory at a time, no faster than the disk takes it. */
async function writeFiles(read: ShadowRead, options: PullOptions): Promise<ShadowFilesResult> {
  const { header } = read;
  // A file may hold several parts of one tensor, so the name of a part includes its ranges.
  const tensors = header.tensors.map((tensor, index) => ({
    ...tensor,
    name: options.box?.[index]?.name ?? tensor.name,
  }));
  const files = await createShadowFiles(options.out, tensors, {
    overwrite: options.overwrite === true,
    layout: options.layout,
    metadata: {
      run: header.run,
      average: header.average,
      ...widthMetadata(options),
      step: String(header.step),
      num_updates: String(header.numUpdates),
      generation: String(header.generation),
    },
    ...(options.shardBytes === undefined ? {} : { shardBytesMax: options.shardBytes }),
  }).catch((error: unknown) => {
    throw withWayOut(error);
  });
  const totalBytes = header.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const progress = startProgress(`pull ${header.run}`, totalBytes, options.json ?? false);
  try {
    for await (const { data } of read.pieces) {
      await files.write(data);
      progress.advance(data.length);
    }
    return await files.finish();
  } catch (error) {
    await files.abort();
    throw error;
  } finally {
    progress.stop();
  }
}

/** Adds to the error for an existing file which flag replaces the file. */
function withWayOut(error: unknown): unknown {
  if (!(error instanceof StorageError) || error.code !== 'EXISTS') return error;
  return new StorageError('EXISTS', error.path, `${error.message}; --overwrite replaces it`, error);
}

/** The width of a combination for the file's metadata, whose values are strings. */
function widthMetadata({ sigmaRel, gamma }: PullOptions): Record<string, string> {
  if (sigmaRel !== undefined) return { sigma_rel: String(sigmaRel) };
  return gamma === undefined ? {} : { gamma: String(gamma) };
}

function report({ header }: ShadowRead, written: ShadowFilesResult, ms: number, options: PullOptions): void {
  const { run, average, step, numUpdates, generation, weight, tensors } = header;
  if (options.json) {
    const { contributions, fitError } = header;
    const { sigmaRel, gamma } = options;
    const parts = fitError === undefined ? {} : { sigmaRel, gamma, contributions, fitError };
    printJson({ run, average, step, numUpdates, generation, weight, ...parts, ...written });
    return;
  }
  const size = `${tensors.length} tensors, ${formatBytes(written.tensorBytes)} in ${formatDuration(ms)}`;
  print(`wrote ${written.path}: ${run} ${describeRead(header, options)}, ${size}`);
  if (written.files.length > 1) print(`${written.files.length} shards`);
}

function describeRead(
  { average, step, numUpdates, contributions, fitError }: ShadowRead['header'],
  options: PullOptions,
) {
  if (fitError === undefined) return `${average} at step ${step}, ${numUpdates} updates`;
  const width = Object.entries(widthMetadata(options)).flat().join(' ');
  const parts = contributions.filter(({ weight }) => weight !== 0).length;
  return `${width} at step ${step}, combined from ${parts} parts, ${formatShare(fitError)} off`;
}
