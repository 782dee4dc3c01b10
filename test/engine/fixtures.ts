import { AVERAGE_DEFAULTS, type ErrorReason, type FloatDType, ShadowkeepError, toEnd } from '../../src/common/index.js';
import {
  type AverageSpec,
  type CommitOutcome,
  planRead,
  type Reader,
  type ReadPlan,
  Run,
  readBytes,
  type TensorSpec,
  type TrainerRequest,
  type Version,
  type WriterStream,
} from '../../src/engine/index.js';
import type { Layout } from '../../src/engine/layout/layout.js';
import { planningWire, type WireBox, type WirePlan } from '../../src/engine/layout/wire-plan.js';
import { Ledger } from '../../src/engine/memory/ledger.js';
import type { ReadTensor } from '../../src/engine/read/read-tensors.js';
import type { RunOptions, RunSpec } from '../../src/engine/run-spec.js';
import type { KernelMode } from '../../src/kernels/index.js';

/** The leg of the test run: `npm test` runs the engine's suite once with each. */
export const MODE = (process.env['SHADOWKEEP_KERNELS'] ?? 'simd') as KernelMode;

export const MIB = 1 << 20;

export function tensor(name: string, shape: number[], rest: Partial<TensorSpec> = {}): TensorSpec {
  return { name, shape, dtype: 'F32', policy: 'AVERAGE', ...rest };
}

/** The byte space of a step that every average takes whole. */
export function planWire(layout: Layout, wireDType?: FloatDType): WirePlan {
  return toEnd(planningWire(layout, wireDType));
}

export function ema(
  name: string,
  decay: number,
  start: AverageSpec['start'],
  precision: AverageSpec['precision'] = 'F32',
): AverageSpec {
  return { ...AVERAGE_DEFAULTS, name, schedule: { kind: 'constant', decay }, start, precision };
}

export function mean(name: string, precision: AverageSpec['precision'] = 'F32'): AverageSpec {
  return { ...AVERAGE_DEFAULTS, name, schedule: { kind: 'mean' }, precision };
}

/** A run's spec that takes any number. */
/** A spec whose tensors are an array, as a test makes it. */
export type ListedSpec = RunSpec<readonly TensorSpec[]>;

export function specOf(
  name: string,
  tensors: TensorSpec[],
  averages: AverageSpec[],
  rules: Partial<ListedSpec> = {},
): ListedSpec {
  return { name, tensors, averages, nonFinite: 'ACCEPT', snapshots: undefined, retain: undefined, ...rules };
}

/** A run with a ledger of its own. */
export function makeRun(
  tensors: TensorSpec[],
  averages: AverageSpec[],
  options: RunOptions = {},
  budgetBytes = 256 * MIB,
  rules: Partial<ListedSpec> = {},
): { run: Run; ledger: Ledger } {
  const ledger = new Ledger(budgetBytes);
  const spec = specOf('r', tensors, averages, rules);
  return { run: new Run(spec, ledger, MODE, options), ledger };
}

/** Runs a fold to its end at once. */
export async function drive(fold: Iterable<void>): Promise<void> {
  for (const _ of fold);
}

export function never(error: ShadowkeepError): void {
  throw error;
}

/** The generation of a life of the trainer; default: the present one, or the first. */
export function attach(run: Run, incarnation = '', rest: Partial<TrainerRequest> = {}): number {
  return run.attach({ incarnation, writers: 0, resumeStep: undefined, trainerStep: undefined, ...rest });
}

/** The stream of a single writer in the present generation; the first one is opened where there is none. */
export function openWriter(
  run: Run,
  wireDType?: FloatDType,
  onFailure: (error: ShadowkeepError) => void = never,
  generation = run.generation === 0 ? attach(run) : run.generation,
): WriterStream {
  return run.openWriter(
    { generation, writer: 0, boxes: undefined, wireDType, takeover: false, session: '' },
    onFailure,
  );
}

/** A writer says that its part of a step is whole; default: an update. */
export async function commit(
  writer: WriterStream,
  step: number,
  bytes: number,
  { isInitial = false, isSkipped = false }: { isInitial?: boolean; isSkipped?: boolean } = {},
): Promise<CommitOutcome> {
  return await writer.commit({ step, bytes, isInitial, isSkipped }, drive);
}

/** A writer says that the optimizer left a step out. */
export async function skip(writer: WriterStream, step: number): Promise<CommitOutcome> {
  return await commit(writer, step, 0, { isSkipped: true });
}

/** A stream ends, and what it has left behind is freed. */
export function closeStream(stream: WriterStream): void {
  stream.leave();
  stream.forget();
}

/** Pushes one step through a stream of its own. */
export async function push(
  run: Run,
  step: number,
  space: Uint8Array,
  options: { initial?: boolean; wireDType?: FloatDType } = {},
): Promise<string> {
  const writer = openWriter(run, options.wireDType);
  try {
    if (space.length > 0) writer.stage(step, 0, space);
    return (await commit(writer, step, space.length, { isInitial: options.initial ?? false })).state;
  } finally {
    closeStream(writer);
  }
}

/** The bytes of one average of the head, or of what a reader holds. */
export function readAll(
  run: Run,
  average = 0,
  options: { reader?: Reader; dtype?: FloatDType; names?: string[] } = {},
): Buffer {
  const isWanted = (name: string): boolean => options.names?.includes(name) ?? true;
  const plan = planOf(run, options.reader?.version ?? run.head, average, isWanted, options.dtype);
  const bytes = Buffer.alloc(plan.tensors.totalBytes, 0xa5);
  toEnd(readBytes(plan, 0, bytes));
  return bytes;
}

/** What a read has, entry by entry. */
export function entriesOf({ tensors }: ReadPlan): ReadTensor[] {
  return Array.from({ length: tensors.count }, (_, index) => tensors.at(index));
}

/** Where each tensor that is sent lies in the byte space of a step. */
export function boxesOf({ boxes }: WirePlan): WireBox[] {
  return Array.from({ length: boxes.count }, (_, index) => boxes.at(index));
}

/** The plan of a read of one average of a version. */
export function planOf(
  run: Run,
  version: Version,
  average: number,
  isWanted: (name: string) => boolean = () => true,
  dtype?: FloatDType,
): ReadPlan {
  const selection = (index: number): boolean => isWanted(run.layout.tensors.nameOf(index));
  return toEnd(planRead(run.layout, version, version.shadows[average]!, selection, dtype));
}

/** Packed numbers, padded to 64 bytes as a byte space has them. */
export function space(...tensors: (Float32Array | Float64Array | Uint16Array | Uint8Array)[]): Buffer {
  return Buffer.concat(
    tensors.map(({ buffer, byteOffset, byteLength }) => {
      const padded = Buffer.alloc(Math.ceil(byteLength / 64) * 64);
      padded.set(new Uint8Array(buffer, byteOffset, byteLength));
      return padded;
    }),
  );
}

export const f32 = (...values: number[]): Float32Array => Float32Array.from(values);
export const f64 = (...values: number[]): Float64Array => Float64Array.from(values);

export function f32At(bytes: Buffer, count: number, offset = 0): number[] {
  return Array.from({ length: count }, (_, index) => bytes.readFloatLE(offset + index * 4));
}

export function f64At(bytes: Buffer, count: number, offset = 0): number[] {
  return Array.from({ length: count }, (_, index) => bytes.readDoubleLE(offset + index * 8));
}

/** For `toThrow`: reason and text of a refusal. */
export function refusal(reason: ErrorReason, text: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof ShadowkeepError && error.reason === reason && text.test(error.message);
}
