import type { BoxSpec } from '../../client/index.js';
import { quote } from '../../common/index.js';
import { UsageError } from '../exit.js';

/** A part of a tensor, named as on the command line. The part has the same name in a file. */
export interface BoxFlag {
  readonly name: string;
  readonly box: BoxSpec;
}

/** Matches a tensor's name and the begin and end of each dimension, such as `weight[0:4,2:8]`. */
const RANGES = /^(.+)\[((?:\d+:\d+)(?:,\d+:\d+)*)\]$/;

/** Collects the boxes of a repeated --box. Each flag has one box, because commas separate the ranges of a box. */
export function collectBoxes(text: string, previous: BoxFlag[] = []): BoxFlag[] {
  const flag = parseBox(text);
  if (previous.some(({ name }) => name === flag.name)) throw new UsageError(`--box names ${quote(flag.name)} twice`);
  return [...previous, flag];
}

function parseBox(name: string): BoxFlag {
  const [, tensor, ranges] = RANGES.exec(name) ?? [];
  if (tensor === undefined || ranges === undefined) {
    throw new UsageError(`--box must be a tensor and its ranges, as weight[0:4,2:8], got ${quote(name)}`);
  }
  const bounds = ranges.split(',').map((range) => range.split(':').map(Number) as [number, number]);
  const falling = bounds.find(([begin, end]) => end < begin);
  if (falling !== undefined)
    throw new UsageError(`--box ${quote(name)} has the range ${falling.join(':')}, which falls`);
  const offset = bounds.map(([begin]) => begin);
  return { name, box: { tensor, offset, extent: bounds.map(([begin, end]) => end - begin) } };
}
