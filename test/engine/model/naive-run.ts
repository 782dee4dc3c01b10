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
      shadows: spec.averages.map(({ precision }) => spec.tensors.map((tensor) => zeros(precision, tensor))),
      copied: spec.tensors.map(
        (tensor) => new Uint8Array(tensor.policy === 'COPY' ? bytesOf(tensor, tensor.dtype) : 0),
      ),
      spaces: [],
    };
  }

  /** Folds or assigns a whole step of wire bytes. */
  commit(step: number, space: Buffer, wireDType: FloatDType | undefined, isInitial: boolean): void {
    const parts = this.parts(space, wireDType);
    const { head } = this;
    const numUpdates = head.numUpdates.map((count) => (isInitial ? count : count + 1));
    const shadows = this.spec.averages.map((average, a) => {
      const weight = isInitial ? initialWeight(average) : weightOf(average, numUpdates[a]!);
      return this.spec.tensors.map((tensor, t) => {
        const shadow = head.shadows[a]![t]!;
        return tensor.policy === 'AVERAGE'
          ? folded(shadow, decoded(parts[t]!, wireOf(tensor, wireDType)), weight)
          : shadow;
      });
    });
    const copied = this.spec.tensors.map((tensor, t) => (tensor.policy === 'COPY' ? parts[t]! : head.copied[t]!));
    this.head = { step, numUpdates, shadows, copied, spaces: [] };
  }

  /** The bytes of each tensor in a writer's byte space. */
  private parts(space: Buffer, wireDType: FloatDType | undefined): Uint8Array[] {
    let offset = 0;
    return this.spec.tensors.map((tensor) => {
      if (tensor.policy === 'IGNORE') return new Uint8Array();
      const bytes = bytesOf(tensor, wireOf(tensor, wireDType));
      const part = Uint8Array.from(space.subarray(offset, offset + bytes));
      offset += aligned(bytes);
      return part;
    });
  }

  stepBytes(wireDType: FloatDType | undefined): number {
    return this.spec.tensors.reduce((sum, tensor) => {
      return tensor.policy === 'IGNORE' ? sum : sum + aligned(bytesOf(tensor, wireOf(tensor, wireDType)));
    }, 0);
  }

  /** The byte space of a read of one average in its own precision. */
  space(version: NaiveVersion, average: number): Buffer {
    version.spaces[average] ??= Buffer.concat(
      this.spec.tensors.flatMap((tensor, t) => {
        if (tensor.policy === 'IGNORE') return [];
        const part = tensor.policy === 'COPY' ? version.copied[t]! : version.shadows[average]![t]!;
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

function bytesOf(tensor: TensorSpec, dtype: DType): number {
  return countOf(tensor) * DTYPE_BYTES[dtype];
}

function zeros(precision: AverageSpec['precision'], tensor: TensorSpec): Numbers {
  const count = tensor.policy === 'AVERAGE' ? countOf(tensor) : 0;
  return precision === 'F32' ? new Float32Array(count) : new Float64Array(count);
}

function initialWeight({ start }: AverageSpec): number {
  return start === 'ZEROS' ? 0 : 1;
}

function weightOf({ schedule, start }: AverageSpec, k: number): number {
  if (start === 'FIRST' && k === 1) return 1;
  return schedule.kind === 'mean' ? 1 / k : 1 - schedule.decay;
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
