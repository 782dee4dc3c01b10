import { DTYPE_BYTES, type DType, type FloatDType } from '../../../src/common/index.js';
import type { AverageSpec, TensorSpec } from '../../../src/engine/index.js';
import type { ListedSpec } from '../fixtures.js';
import { decoded, folded, moveOf } from './naive-fold.js';

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
  readonly spec: ListedSpec;
  head: NaiveVersion;
  /** What was committed, by step. */
  private readonly committed = new Map<
    number,
    { readonly space: Buffer; readonly wireDType: FloatDType | undefined }
  >();

  constructor(spec: ListedSpec) {
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
        // A shadow that does not exist yet cannot be kept.
        const begins = !head.begun[a]! && moves[a]!.weight === 1;
        if (!isTaken(average, tensor) || (skipped.has(tensor) && !begins)) return shadow;
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
    this.committed.set(step, { space, wireDType });
  }

  /** The bytes that were committed as a step, if they came in this dtype. */
  sent(step: number, wireDType: FloatDType | undefined): Buffer | undefined {
    const ours = this.committed.get(step);
    return ours?.wireDType === wireDType ? ours?.space : undefined;
  }

  /** Whether a whole step that is sent again is known to be another one; tensors that are sent once do not count. */
  isConflict(step: number, space: Buffer, wireDType: FloatDType | undefined): boolean {
    const ours = this.sent(step, wireDType);
    const bytes = this.stepBytes(wireDType, false);
    return ours !== undefined && space.length >= bytes && !ours.subarray(0, bytes).equals(space.subarray(0, bytes));
  }

  /** The trainer goes on from an older version: what came after it has not been. */
  rewind(version: NaiveVersion): void {
    this.head = version;
    for (const step of this.committed.keys()) if (step > (version.step ?? 0)) this.committed.delete(step);
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
