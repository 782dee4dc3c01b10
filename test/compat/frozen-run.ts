import type { AverageState__Output } from '../../src/protocol/gen/shadowkeep/v1/AverageState.js';
import type { GetShadowRequest } from '../../src/protocol/gen/shadowkeep/v1/GetShadowRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import type { TestBox } from '../server/crew.js';
import { ask } from '../server/harness.js';
import { read } from '../server/read.js';
import { Upload } from '../server/upload.js';

/** `expected.json` of a fixture: what a server says of each of its runs, and what it makes of the steps that come next. */
export interface Expected {
  readonly runs: readonly FrozenRun[];
}

export interface FrozenRun {
  readonly run: string;
  /** Of `lineage.json`, which is one newer than the checkpoint's. */
  readonly generation: number;
  readonly answers: object;
  /** The checkpoint's last step once more, and the one after it. */
  readonly again: FrozenPush;
  readonly next: FrozenPush;
  readonly answersAfterNext: object;
}

export interface FrozenPush {
  readonly step: number;
  /** One for each writer; the bytes in base64. */
  readonly parts: readonly { readonly open: PartOpen; readonly bytes: string }[];
}

export interface PartOpen {
  readonly writer?: number;
  readonly boxes?: readonly TestBox[];
  readonly wire_dtype?: string;
}

/** Sends a step of all writers. Gives the state that they are told. */
export async function pushFrozen(
  client: ShadowWeightsClient,
  run: string,
  generation: number,
  { step, parts }: FrozenPush,
): Promise<string[]> {
  const crew = parts.map(({ open }) => new Upload(client).open(generation, { run, ...open }));
  await Promise.all(crew.map((upload) => upload.opened()));
  for (const [index, { bytes }] of parts.entries()) crew[index]!.push(step, Buffer.from(bytes, 'base64'));
  const states = await Promise.all(crew.map(async (upload) => (await upload.ack()).state));
  await Promise.all(crew.map((upload) => upload.end()));
  return [...new Set(states)];
}

/** All that a run is known by, with the bits of each average and of a width after the fact, as JSON keeps it. */
export async function answersOf(client: ShadowWeightsClient, run: string): Promise<object> {
  const { tensors, averages, states, non_finite, retain, snapshots, snapshots_held, committed_step, writers } =
    await ask(client, 'GetRun', { run });
  const requests: GetShadowRequest[] = states.filter(hasUpdates).map(({ name }) => ({ average: name }));
  if (snapshots_held.length > 0) requests.push({ sigma_rel: 0.12 });
  const shadows = [];
  for (const request of requests) shadows.push({ request, ...(await shadowOf(client, { run, ...request })) });
  const about = { tensors, averages, states, non_finite, retain, snapshots, snapshots_held, committed_step, writers };
  return JSON.parse(JSON.stringify({ ...about, shadows }, withoutLoadersOwn));
}

/** proto-loader says with `_name` that an optional field is there. */
function withoutLoadersOwn(name: string, value: unknown): unknown {
  return name.startsWith('_') ? undefined : value;
}

function hasUpdates({ num_updates }: AverageState__Output): boolean {
  return Number(num_updates) > 0;
}

async function shadowOf(client: ShadowWeightsClient, request: GetShadowRequest): Promise<object> {
  const { header, bytes } = await read(client, request);
  const { step, num_updates, weight, movement, tensors, contributions, fit_error } = header;
  const about = { step, num_updates, weight, movement, tensors, contributions, fit_error };
  return { ...about, bytes: bytes.toString('base64') };
}
