import { expect, test } from 'vitest';
import { ClientError, isDisconnect } from '../../src/client/errors.js';
import type { StepChunk } from '../../src/client/outgoing-chunk.js';
import { OutgoingStep } from '../../src/client/outgoing-step.js';
import { isFurther, resumeSteps } from '../../src/client/resume-steps.js';
import type { UpdateStream } from '../../src/client/update-stream.js';
import type { UpdateOpened__Output, UpdateRequest } from '../../src/protocol/index.js';
import { readSource } from '../support/source-files.js';

/** The cases that Python's tests run too, so that both clients come back alike. A step has 256 bytes. */
const { places, failures, standings } = JSON.parse(readSource('test/common/reconnect.json')) as {
  /** Places of a writer, each further than those before it. */
  places: Partial<UpdateOpened__Output>[];
  failures: { code: 'UNAVAILABLE'; reason?: string; message: string; again: boolean }[];
  standings: Standing[];
};

interface Standing {
  readonly name: string;
  readonly opened: Partial<UpdateOpened__Output>;
  /** Steps that were sent whole, with their commits. */
  readonly sent: readonly number[];
  /** Steps whose bytes may have changed since they were sent. */
  readonly gone?: readonly number[];
  readonly acknowledged?: readonly number[];
  /** Steps whose acknowledgements will come, so that nothing of them is sent again. */
  readonly held?: readonly number[];
  /** For each step that is sent again: from which byte on. */
  readonly resent?: Readonly<Record<string, number>>;
  readonly lost?: number;
}

const BYTES = 256;
const CHUNKS = { checksums: false, chunkBytes: 64 };

/** Records what is sent. */
class Recorder {
  readonly requests: UpdateRequest[] = [];
  readonly stream = {
    sendChunk: async (chunk: StepChunk) => void this.requests.push({ chunk }),
    sendWhole: async (request: UpdateRequest) => void this.requests.push(request),
  } as unknown as UpdateStream;

  /** The offset of the first chunk; undefined when nothing was sent. */
  get firstOffset(): number | undefined {
    const [first] = this.requests;
    return first === undefined ? undefined : Number(first.chunk?.offset ?? BYTES);
  }
}

/** The service's answer to an opening, with nothing but this place. */
const openedAt = (place: Partial<UpdateOpened__Output>) =>
  ({ received_bytes: 0, whole: false, ...place }) as UpdateOpened__Output;

test.each(places.map((place, index) => ({ place, index })))(
  'place $index is further than those before it',
  ({ place, index }) => {
    const found = places.map((before) => isFurther(openedAt(place), openedAt(before)));
    expect(found).toEqual(places.map((_, at) => at < index));
  },
);

test.each(failures)(
  'after $code $reason "$message" a stream is opened again: $again',
  ({ code, reason, message, again }) => {
    expect(isDisconnect(new ClientError(code, message, reason === undefined ? {} : { reason }))).toBe(again);
  },
);

test.each(standings)('$name', async ({ opened, sent, gone = [], acknowledged = [], held = [], resent = {}, lost }) => {
  const source = () => ({ name: 'w', bytes: BYTES, read: () => [new Uint8Array(BYTES)] });
  const steps = sent.map((step) => new OutgoingStep({ step, bytes: BYTES }, [source()] as never));
  for (const step of steps) {
    await step.transmit(new Recorder().stream, CHUNKS);
    if (gone.includes(step.step)) await step.sent;
  }
  const answer = openedAt(opened);
  if (lost !== undefined) {
    expect(() => resumeSteps(steps, answer)).toThrow(`step ${lost} is lost`);
    return;
  }
  const acks = resumeSteps(steps, answer);
  expect(acks.map(({ step }) => step)).toEqual(acknowledged);
  const rest = steps.slice(acks.length);
  expect(rest.filter(({ isSent }) => isSent).map(({ step }) => step)).toEqual(held);
  const offsets = new Map<string, number | undefined>();
  for (const step of rest.filter(({ isSent }) => !isSent)) {
    const recorder = new Recorder();
    await step.transmit(recorder.stream, CHUNKS);
    offsets.set(String(step.step), recorder.firstOffset);
  }
  expect(Object.fromEntries(offsets)).toEqual(resent);
});
