import type { AverageSpec, RunInfo, ShadowkeepClient, TensorSpec } from '../../client/index.js';
import { type FloatDType, isFloatDType, quote, ShadowkeepError } from '../../common/index.js';
import type { SafetensorsFile } from '../../storage/index.js';
import { OperationError, UsageError } from '../exit.js';

/** The options with which a run is opened to push files. */
export interface PushLayout {
  tensors: readonly TensorSpec[];
  averages: readonly AverageSpec[];
  /** Set when the files hold the averaged tensors in another dtype than the run. */
  wireDtype: FloatDType | undefined;
}

/**
 * How to open the run for these files: with its own layout and averages if it exists, otherwise with the layout of the
 * first file and the averages that were asked for. Throws when a file does not fit.
 */
export async function layoutFor(
  client: ShadowkeepClient,
  name: string,
  files: readonly SafetensorsFile[],
  averages: readonly AverageSpec[],
): Promise<PushLayout> {
  const run = await findRun(client, name);
  const first = files[0]!;
  if (run === undefined && averages.length === 0) {
    throw new UsageError(`run ${quote(name)} does not exist: name its averages with --average, --ema or --mean`);
  }
  const tensors = run?.tensors ?? first.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const wireDtype = commonFloat(tensors, first);
  for (const file of files) checkFile(file, tensors, wireDtype);
  return { tensors, averages: averages.length > 0 ? averages : run!.averages, wireDtype };
}

async function findRun(client: ShadowkeepClient, name: string): Promise<RunInfo | undefined> {
  try {
    return await client.getRun(name);
  } catch (error) {
    if (error instanceof ShadowkeepError && error.reason === 'RUN_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The dtype that all averaged tensors have in the file; undefined when it is the layout's, or they have several. */
function commonFloat(tensors: readonly TensorSpec[], file: SafetensorsFile): FloatDType | undefined {
  const inFile = new Map(file.tensors.map(({ name, dtype }) => [name, dtype]));
  const averaged = tensors.filter(isAveraged);
  const dtype = inFile.get(averaged[0]?.name ?? '');
  const isCommon = averaged.every((tensor) => inFile.get(tensor.name) === dtype);
  const isLayouts = averaged.every((tensor) => tensor.dtype === dtype);
  return isCommon && !isLayouts && isFloatDType(dtype) ? dtype : undefined;
}

/** Throws for a file that does not fit the run, naming the first difference, before a byte of any file is sent. */
function checkFile(file: SafetensorsFile, tensors: readonly TensorSpec[], wireDtype: FloatDType | undefined): void {
  const inFile = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  for (const tensor of tensors) {
    const found = inFile.get(tensor.name);
    inFile.delete(tensor.name);
    if (tensor.policy === 'IGNORE') continue;
    if (found === undefined) throw mismatch(file, `has no tensor ${quote(tensor.name)}`);
    const dtype = isAveraged(tensor) ? (wireDtype ?? tensor.dtype) : tensor.dtype;
    const expected = `${dtype} [${tensor.shape.join(', ')}]`;
    const given = `${found.dtype} [${found.shape.join(', ')}]`;
    if (given !== expected) throw mismatch(file, `has ${quote(tensor.name)} as ${given}, the run as ${expected}`);
  }
  const [unknown] = inFile.keys();
  if (unknown !== undefined) throw mismatch(file, `has ${quote(unknown)}, which the run does not have`);
}

function isAveraged(tensor: TensorSpec): boolean {
  return isFloatDType(tensor.dtype) && (tensor.policy ?? 'AVERAGE') === 'AVERAGE';
}

function mismatch({ path }: SafetensorsFile, problem: string): OperationError {
  return new OperationError('LAYOUT_MISMATCH', `${path} ${problem}`);
}
