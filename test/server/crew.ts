import type { DType } from '../../src/common/index.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { Upload } from './upload.js';

/** A box as a writer declares it. */
export interface TestBox {
  readonly tensor: number;
  readonly offset: number[];
  readonly extent: number[];
  readonly replica_group?: number;
}

export interface TestTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: number[];
  readonly policy?: 'COPY_ONCE';
}

/** The value of an element of a tensor, by its row-major index. */
export type ValueOf = (tensor: number, index: number) => number;

/** Two tensors. No number of writers from 2 to 4 divides all their extents evenly. */
export const TENSORS: TestTensor[] = [
  { name: 'w', dtype: 'F32', shape: [6, 4] },
  { name: 'b', dtype: 'F32', shape: [5] },
];

/** The boxes of `count` writers. Each tensor is cut along its dimension `dim`, or along its last one. */
export function shards(tensors: readonly TestTensor[], count: number, dim = 0): TestBox[][] {
  return Array.from({ length: count }, (_, writer) =>
    tensors.map(({ shape }, tensor) => {
      const along = Math.min(dim, shape.length - 1);
      const [begin, end] = [writer, writer + 1].map((at) => Math.floor((shape[along]! * at) / count)) as [
        number,
        number,
      ];
      return {
        tensor,
        offset: shape.map((_, at) => (at === along ? begin : 0)),
        extent: shape.map((extent, at) => (at === along ? end - begin : extent)),
      };
    }),
  );
}

/** The row-major indices of the elements of a box. */
export function elementsOf(shape: readonly number[], { offset, extent }: TestBox): number[] {
  return shape.reduce<number[]>(
    (found, size, dim) =>
      found.flatMap((index) => Array.from({ length: extent[dim]! }, (_, at) => index * size + offset[dim]! + at)),
    [0],
  );
}

/** The byte space of a writer: its boxes in one dtype, each padded to a multiple of 64 bytes. */
export function partOf(
  tensors: readonly TestTensor[],
  boxes: readonly TestBox[],
  values: ValueOf,
  dtype: 'F32' | 'F64' | 'BF16' = 'F32',
): Buffer {
  return Buffer.concat(
    boxes.map((box) => {
      const elements = elementsOf(tensors[box.tensor]!.shape, box);
      return padded(elements.map((index) => ENCODE[dtype](values(box.tensor, index))));
    }),
  );
}

const ENCODE = {
  F32: (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(value);
    return bytes;
  },
  F64: (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(value);
    return bytes;
  },
  /** BF16 is the upper half of an F32, which is exact for small integers. */
  BF16: (value: number): Buffer => ENCODE.F32(value).subarray(2),
};

function padded(elements: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat(elements);
  return Buffer.concat([bytes, Buffer.alloc((64 - (bytes.length % 64)) % 64)]);
}

/** Opens the streams of all writers of a generation. */
export async function openCrew(
  client: ShadowWeightsClient,
  generation: number,
  parts: readonly (readonly TestBox[])[],
  rest: object = {},
): Promise<Upload[]> {
  const crew = parts.map((boxes, writer) => new Upload(client).open(generation, { writer, boxes, ...rest }));
  await Promise.all(crew.map((upload) => upload.next()));
  return crew;
}

/** The textbook average in F32 with a decay of ½. Its first update is copied. */
export class NaiveEma {
  shadow: number[] | undefined;
  updates = 0;

  constructor(
    readonly tensors: readonly TestTensor[],
    readonly before?: NaiveEma,
  ) {
    this.shadow = before?.shadow;
    this.updates = before?.updates ?? 0;
  }

  fold(values: ValueOf): this {
    const weights = this.tensors.flatMap(({ shape }, tensor) =>
      Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, index) =>
        values(tensor, index),
      ),
    );
    this.shadow =
      this.shadow?.map((s, at) => Math.fround(s + Math.fround(0.5 * Math.fround(weights[at]! - s)))) ?? weights;
    this.updates += 1;
    return this;
  }

  /** The bytes of the average as a reader gets them: each tensor padded to a multiple of 64 bytes. */
  get bytes(): Buffer {
    const rest = [...(this.shadow ?? [])];
    return Buffer.concat(
      this.tensors.map(({ shape }) => {
        const count = shape.reduce((product, extent) => product * extent, 1);
        return padded(rest.splice(0, count).map(ENCODE.F32));
      }),
    );
  }
}
