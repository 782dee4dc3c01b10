import { expect } from 'vitest';
import type { ErrorReason } from '../../src/common/index.js';
import type { OpenRunRequest } from '../../src/protocol/gen/shadowkeep/v1/OpenRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { pictureOf } from '../server/expect-error.js';
import { ask, openRun, rawClient, serve } from '../server/harness.js';
import { f32Space, f32Values, read } from '../server/read.js';
import { Upload } from '../server/upload.js';

/** A case of a table: what it is, the bad part of a request, and what the answer must say. */
export type Attack<Request> = readonly [what: string, request: Request, reason: ErrorReason, text: RegExp];

/** Two averages and a copied tensor, so that each kind of plane can be harmed. */
export const VICTIM: OpenRunRequest = {
  run: 'r',
  tensors: [
    { name: 'w', dtype: 'F32', shape: [40] },
    { name: 'n', dtype: 'I64', shape: [2] },
  ],
  averages: [
    { name: 'ema', start: 'FIRST', constant: { decay: 0.5 } },
    { name: 'mean', start: 'FIRST', precision: 'F64', mean: {} },
  ],
};

/** Bytes of a step: 40 floats take 160, padded to 192, and two integers 16, padded to 64. */
export const STEP_BYTES = 256;

/** A run with one committed step, and the proof that attacks left it as it was. */
export class Victim {
  readonly client: ShadowWeightsClient;
  readonly port: number;
  readonly generation: number;
  readonly #picture: object;

  private constructor(client: ShadowWeightsClient, port: number, generation: number, picture: object) {
    this.client = client;
    this.port = port;
    this.generation = generation;
    this.#picture = picture;
  }

  static async create(): Promise<Victim> {
    const server = await serve({ memoryBytes: 128 << 20 });
    const client = rawClient(server);
    const { generation } = await openRun(client, VICTIM);
    const upload = new Upload(client).open(generation).push(1, stepOf(1));
    await upload.ack();
    await upload.end();
    return new Victim(client, server.port, generation, await pictureOf(client));
  }

  /** The run is what it was, no other one was made, and the next step is folded right. */
  async expectUnharmed(): Promise<void> {
    expect(await pictureOf(this.client)).toEqual(this.#picture);
    expect((await ask(this.client, 'ListRuns', {})).runs.map(({ run }) => run)).toEqual(['r']);
    const upload = new Upload(this.client).open(this.generation).push(2, stepOf(3));
    expect(await upload.ack()).toMatchObject({ step: 2, state: 'COMMITTED' });
    await upload.end();
    const { header, bytes } = await read(this.client, { average: 'ema' });
    expect(header).toMatchObject({ step: 2, num_updates: 2, weight: 0.5 });
    expect(f32Values(bytes, 40)).toEqual(Array(40).fill(2));
    expect(bytes.readBigInt64LE(192)).toBe(3n);
  }
}

/** The bytes of a step in which every element has this value. */
export function stepOf(value: number): Buffer {
  const integers = Buffer.alloc(64);
  integers.writeBigInt64LE(BigInt(value), 0);
  return Buffer.concat([f32Space(Array(40).fill(value)), integers]);
}

/** Integers of 64 bits that a JavaScript number cannot hold exactly. */
export const INEXACT = ['9007199254740992', '9007199254740993', '18446744073709551615'] as const;
