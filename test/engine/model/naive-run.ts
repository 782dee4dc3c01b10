import { DTYPE_BYTES, type DType, type FloatDType, isFloatDType } from '../../../src/common/index.js';
import type { AverageSpec, RunSpec, TensorSpec } from '../../../src/engine/index.js';
import { HALF_VALUES } from '../../kernels/oracle.js';

/*
 * What a run is, in the plainest way: arrays of numbers, a fresh copy for each version, no pages, no sharing. One fold is
 * s + w * (θ − s), each operation rounded in the shadow's precision.
 */

export type Numbers = Float32Array | Float64Array;

export interface NaiveVersion {
  readonly step: number | undefined;
  readonly numUpdates: readonly number[];
  readonly pushes: readonly number[];
  /** [average]: whether its shadow has been given anything. */
  readonly begun: readonly boolean[];
  /** [average][tensor]; tensors that are not averaged have no numbers. */
  readonly shadows: readonly (readonly Numbers[])[];
  /** [tensor]; bytes of the copied ones. */
  readonly copied: readonly Uint8Array[];
  /** The byte space of a read of each average, made when it is first asked for. */
  readonly spaces: (Buffer | undefined)[];
}

export const countOf = ({ shape }: TensorSpec): number => shape.reduce((count, extent) => count * extent, 1);
const aligned = (bytes: number): number => Math.ceil(bytes / 64) * 64;

export class NaiveRun {
  readonly spec: RunSpec;
  head: NaiveVersion;

  constructor(spec: RunSpec) {
    this.spec = spec;
    this.head = {
      step: undefined,
      numUpdates: spec.averages.map(() => 0),
      pushes: spec.averages.map(() => 0),
      begun: spec.averages.map(() => false),
      shadows: spec.averages.map(({ precision }) => spec.tensors.map((tensor) => zeros(precision, tensor))),
      copied: spec.tensors.map((tensor) => new Uint8Array(isCopied(tensor) ? bytesOf(tensor, tensor.dtype) : 0)),
      spaces: [],
    };
  }

  /** Folds or assigns a whole step of wire bytes. */
  commit(step: number, space: Buffer, wireDType: FloatDType | undefined, isInitial: boolean): void {
    const parts = this.parts(space, wireDType);
    const { head } = this;
    const skipped = this.spec.nonFinite === 'SKIP_TENSOR' ? this.nonFinite(space, wireDType) : new Set();
    const moves = this.spec.averages.map((average, a) => moveOf(average, head, a, isInitial));
    const shadows = this.spec.averages.map((average, a) => {
      return this.spec.tensors.map((tensor, t) => {
        const shadow = head.shadows[a]![t]!;
        if (!isTaken(average, tensor) || skipped.has(tensor)) return shadow;
        return folded(shadow, decoded(parts[t]!, wireOf(tensor, wireDType)), moves[a]!.weight);
      });
    });
    const copied = this.spec.tensors.map((tensor, t) => {
      const isSent = tensor.policy === 'COPY' || (tensor.policy === 'COPY_ONCE' && head.step === undefined);
      return isSent ? parts[t]! : head.copied[t]!;
    });
    const numUpdates = moves.map((move, a) => head.numUpdates[a]! + (move.isUpdate ? 1 : 0));
    const pushes = head.pushes.map((count) => (isInitial ? count : count + 1));
    this.head = { step, numUpdates, pushes, begun: head.begun.map(() => true), shadows, copied, spaces: [] };
  }

  /** A step that the optimizer skipped. */
  skip(step: number): void {
    if (this.head.step !== undefined) this.head = { ...this.head, step };
  }

  /** The averaged tensors of a step that have an infinity or NaN. */
  nonFinite(space: Buffer, wireDType: FloatDType | undefined): Set<TensorSpec> {
    const parts = this.parts(space, wireDType);
    const found = this.spec.tensors.filter((tensor, t) => {
      return (
        tensor.policy === 'AVERAGE' && decoded(parts[t]!, wireOf(tensor, wireDType)).some((x) => !Number.isFinite(x))
      );
    });
    return new Set(found);
  }

  /** The bytes of each tensor in a writer's byte space, in the order of the layout. */
  private parts(space: Buffer, wireDType: FloatDType | undefined): Uint8Array[] {
    let offset = 0;
    const parts = new Map<TensorSpec, Uint8Array>();
    for (const tensor of inWireOrder(this.spec.tensors)) {
      const bytes = bytesOf(tensor, wireOf(tensor, wireDType));
      parts.set(tensor, Uint8Array.from(space.subarray(offset, offset + bytes)));
      offset += aligned(bytes);
    }
    return this.spec.tensors.map((tensor) => parts.get(tensor) ?? new Uint8Array());
  }

  /** Length of a step, with the tensors that are sent once or without them. */
  stepBytes(wireDType: FloatDType | undefined, withOnce: boolean): number {
    return inWireOrder(this.spec.tensors).reduce((sum, tensor) => {
      return tensor.policy === 'COPY_ONCE' && !withOnce
        ? sum
        : sum + aligned(bytesOf(tensor, wireOf(tensor, wireDType)));
    }, 0);
  }

  /** The byte space of a read of one average in its own precision. */
  space(version: NaiveVersion, average: number): Buffer {
    version.spaces[average] ??= Buffer.concat(
      this.spec.tensors.flatMap((tensor, t) => {
        if (!isCopied(tensor) && !isTaken(this.spec.averages[average]!, tensor)) return [];
        const part = isCopied(tensor) ? version.copied[t]! : version.shadows[average]![t]!;
        const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
        return [bytes, Buffer.alloc(aligned(bytes.length) - bytes.length)];
      }),
    );
    return version.spaces[average];
  }
}

export function wireOf(tensor: TensorSpec, wireDType: FloatDType | undefined): DType {
  return tensor.policy === 'AVERAGE' ? (wireDType ?? tensor.dtype) : tensor.dtype;
}

/** What is sent, in the order in which it is. */
export function inWireOrder<Tensor extends TensorSpec>(tensors: readonly Tensor[]): Tensor[] {
  const sent = tensors.filter(({ policy }) => policy !== 'IGNORE');
  return [
    ...sent.filter(({ policy }) => policy !== 'COPY_ONCE'),
    ...sent.filter(({ policy }) => policy === 'COPY_ONCE'),
  ];
}

function isCopied({ policy }: TensorSpec): boolean {
  return policy === 'COPY' || policy === 'COPY_ONCE';
}

/** The patterns of the samples have one star at most. */
function isTaken({ include, exclude }: AverageSpec, { name, policy }: TensorSpec): boolean {
  const matches = (pattern: string): boolean => new RegExp(`^${pattern.replace('*', '.*')}$`).test(name);
  return policy === 'AVERAGE' && (include.length === 0 || include.some(matches)) && !exclude.some(matches);
}

function bytesOf(tensor: TensorSpec, dtype: DType): number {
  return countOf(tensor) * DTYPE_BYTES[dtype];
}

function zeros(precision: AverageSpec['precision'], tensor: TensorSpec): Numbers {
  const count = tensor.policy === 'AVERAGE' ? countOf(tensor) : 0;
  return precision === 'F32' ? new Float32Array(count) : new Float64Array(count);
}

/** What a commit does to an average. */
function moveOf(
  average: AverageSpec,
  head: NaiveVersion,
  a: number,
  isInitial: boolean,
): { weight: number; isUpdate: boolean } {
  if (isInitial) return { weight: average.start === 'ZEROS' ? 0 : 1, isUpdate: false };
  const push = head.pushes[a]! + 1;
  const isTouched = push % average.every === average.everyOffset;
  const isDelayed = push <= average.delayUpdates;
  if (isTouched && !isDelayed) return { weight: weightOf(average, head.numUpdates[a]! + 1), isUpdate: true };
  const isEmpty = !head.begun[a]! && average.start === 'FIRST';
  const isCopied = isTouched && isDelayed && average.delayMode === 'COPY_UNTIL';
  return { weight: isEmpty || isCopied ? 1 : 0, isUpdate: false };
}

function weightOf({ schedule, start }: AverageSpec, k: number): number {
  if (k === 1 && start === 'FIRST') return 1;
  if (schedule.kind === 'constant') return 1 - schedule.decay;
  if (schedule.kind === 'mean') return 1 / k;
  throw new Error(`${schedule.kind} is no schedule of the samples`);
}

function folded(shadow: Numbers, theta: Float64Array, weight: number): Numbers {
  if (weight === 0) return shadow;
  if (shadow instanceof Float64Array) {
    return shadow.map((s, i) => (weight === 1 ? theta[i]! : s + weight * (theta[i]! - s)));
  }
  const { fround } = Math;
  const w = fround(weight);
  return shadow.map((s, i) => {
    const p = fround(theta[i]!);
    return weight === 1 ? p : fround(s + fround(w * fround(p - s)));
  });
}

function decoded(bytes: Uint8Array, dtype: DType): Float64Array {
  if (!isFloatDType(dtype)) throw new Error(`${dtype} is not averaged`);
  if (dtype === 'F64') return new Float64Array(bytes.buffer);
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes.buffer));
  return Float64Array.from(new Uint16Array(bytes.buffer), (code) => HALF_VALUES[dtype][code]!);
}
