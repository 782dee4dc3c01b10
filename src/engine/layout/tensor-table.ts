import { assert, DTYPE_BYTES, type DType, elementCount } from '../../common/index.js';
import type { PlacedTensor, Policy, TensorList, TensorSpec } from './tensor-spec.js';

/*
 * The tensors of a run in columns. A run keeps them as long as it lives, and V8 walks over every object that lives each
 * time it collects the heap: a million tensors as objects hold the event loop for a second, as columns for nothing.
 *
 *   names    one text     layer.0.weightlayer.0.biaslayer.1.weight …
 *   nameEnd  by tensor                  14          26            40
 *   extents  one list     64 32 64 64 64 …
 *   rankEnd  by tensor          2  3     5
 *   dtype, policy, count, flat          one entry for each tensor
 */

const DTYPES = Object.keys(DTYPE_BYTES) as DType[];
const POLICIES: readonly Policy[] = ['AVERAGE', 'COPY', 'COPY_ONCE', 'IGNORE'];

/** Tensors between two yields: under a millisecond. */
const SLICE_TENSORS = 1_024;

/** Bytes of the columns for each tensor, and for each of its extents. */
export const TENSOR_COLUMN_BYTES = 4 + 4 + 1 + 1 + 8 + 8;
export const EXTENT_COLUMN_BYTES = 8;

export class TensorTable implements TensorList<PlacedTensor> {
  readonly length: number;
  #names = '';
  readonly #nameEnd: Uint32Array;
  readonly #extents: Float64Array;
  readonly #rankEnd: Uint32Array;
  readonly #dtype: Uint8Array;
  readonly #policy: Uint8Array;
  readonly #count: Float64Array;
  readonly #flat: Float64Array;

  private constructor(length: number, extentCount: number) {
    this.length = length;
    this.#nameEnd = new Uint32Array(length);
    this.#extents = new Float64Array(extentCount);
    this.#rankEnd = new Uint32Array(length);
    this.#dtype = new Uint8Array(length);
    this.#policy = new Uint8Array(length);
    this.#count = new Float64Array(length);
    this.#flat = new Float64Array(length);
  }

  /** Fills the columns; `placeOf` says where each tensor, with its count of elements, begins in its space. Yields between slices. */
  static *of(specs: TensorList, placeOf: (spec: TensorSpec, count: number) => number): Generator<void, TensorTable> {
    let extentCount = 0;
    for (const { shape } of specs) extentCount += shape.length;
    const table = new TensorTable(specs.length, extentCount);
    const names: string[] = [];
    let [index, nameEnd, rankEnd] = [0, 0, 0];
    for (const spec of specs) {
      if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
      const { name, dtype, shape, policy } = spec;
      const count = elementCount(shape);
      assert(count !== undefined, 'shapes were checked');
      names.push(name);
      table.#extents.set(shape, rankEnd);
      nameEnd += name.length;
      rankEnd += shape.length;
      table.#nameEnd[index] = nameEnd;
      table.#rankEnd[index] = rankEnd;
      table.#dtype[index] = DTYPES.indexOf(dtype);
      table.#policy[index] = POLICIES.indexOf(policy);
      table.#count[index] = count;
      table.#flat[index] = placeOf(spec, count);
      index += 1;
    }
    table.#names = names.join('');
    return table;
  }

  /** A tensor as an object, made anew at each call. */
  at(index: number): PlacedTensor | undefined {
    if (!(index >= 0 && index < this.length)) return undefined;
    const dtype = this.dtypeOf(index);
    const count = this.countOf(index);
    return {
      name: this.nameOf(index),
      dtype,
      shape: this.shapeOf(index),
      policy: this.policyOf(index),
      count,
      bytes: count * DTYPE_BYTES[dtype],
      flat: this.flatOf(index),
    };
  }

  *[Symbol.iterator](): Generator<PlacedTensor> {
    for (let index = 0; index < this.length; index++) yield this.at(index)!;
  }

  nameOf(index: number): string {
    return this.#names.slice(index === 0 ? 0 : this.#nameEnd[index - 1], this.#nameEnd[index]);
  }

  dtypeOf(index: number): DType {
    return DTYPES[this.#dtype[index]!]!;
  }

  policyOf(index: number): Policy {
    return POLICIES[this.#policy[index]!]!;
  }

  shapeOf(index: number): number[] {
    const shape: number[] = [];
    for (let at = index === 0 ? 0 : this.#rankEnd[index - 1]!; at < this.#rankEnd[index]!; at++) {
      shape.push(this.#extents[at]!);
    }
    return shape;
  }

  /** Elements of a tensor. */
  countOf(index: number): number {
    return this.#count[index]!;
  }

  /** Where a tensor begins in its flat space. */
  flatOf(index: number): number {
    return this.#flat[index]!;
  }
}
