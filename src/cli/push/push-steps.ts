import { basename } from 'node:path';
import type { SafetensorsFile } from '../../storage/index.js';
import { UsageError } from '../exit.js';

/**
 * Matches the step at the end of a file's name: `step_000100.safetensors`, `model-100.safetensors`, `100.safetensors`.
 */
const STEP_IN_NAME = /(?:^|[-_.]|step|iter)(\d+)\.safetensors$/i;

/** Matches the name of a shard, one of several files of one checkpoint, whose number is no step. */
const SHARD_NAME = /-\d+-of-\d+\.safetensors$/;

/** The step of each file: counted from `first`, or else from its metadata (`step`) or its name. Steps must rise. */
export function stepsOf(files: readonly SafetensorsFile[], first: number | undefined): number[] {
  const steps = files.map((file, index) => (first === undefined ? stepOf(file) : first + index));
  steps.forEach((step, index) => {
    if (index > 0 && step <= steps[index - 1]!) {
      throw new UsageError(`steps must rise: ${files[index]!.path} is step ${step}, after step ${steps[index - 1]}`);
    }
  });
  return steps;
}

function stepOf({ path, metadata }: SafetensorsFile): number {
  const name = basename(path);
  if (SHARD_NAME.test(name)) throw new UsageError(`${path} is one shard of a checkpoint; push takes whole files`);
  const text = metadata.get('step') ?? STEP_IN_NAME.exec(name)?.[1];
  const step = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(step)) return step;
  throw new UsageError(`neither the metadata nor the name of ${path} says its step: give the first one with --step`);
}
