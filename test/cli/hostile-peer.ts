import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { afterEach } from 'vitest';
import { crc32c, ShadowkeepError } from '../../src/common/index.js';
import { encodeErrorDetails, shadowWeightsDefinition } from '../../src/protocol/index.js';

/** Values of the enums Start, Dtype and StepState in proto/shadowkeep/v1/types.proto, as numbers. */
const [FIRST, F32, REJECTED] = [3, 12, 5];

const servers = new Set<Server>();

afterEach(() => {
  for (const server of servers) server.forceShutdown();
  servers.clear();
});

/** Length of the byte space of one tensor with one float. */
const SPACE_BYTES = 64;
const SPACE = Buffer.alloc(SPACE_BYTES);

/** A run of this name whose tensor fits the file of the test. */
export const PUSHABLE = 'pushable';

/** A run in which every field that is text says `text`. */
function runOf(text: string, tensor = text) {
  return {
    run: text,
    generation: 1,
    committed_step: 1,
    tensors: [{ name: tensor, dtype: F32, shape: [1] }],
    averages: [{ name: text, start: FIRST, mean: {}, include: [text], exclude: [text], preset: text }],
    states: [{ name: text, num_updates: 1, weight: 1 }],
    tensor_count: 1,
    averaged_elements: 1,
    memory: {},
    writers: 1,
    snapshots_held: [{ average: text, step: 1, bytes: 4 }],
  };
}

type Unary = (call: ServerUnaryCall<object, object>, callback: sendUnaryData<object>) => void;

/** The peer's answers to each call, when it answers and does not fail. */
function answers(text: string): Record<string, UntypedHandleCall> {
  const unary =
    (response: object): Unary =>
    (_call, callback) =>
      callback(null, response);
  const header = {
    run: text,
    average: text,
    step: 1,
    total_bytes: SPACE_BYTES,
    tensors: [{ name: text, dtype: F32, shape: [1], offset: 0 }],
    contributions: [{ average: text, step: 1, gamma: 1, weight: 1 }],
    fit_error: 0.5,
  };
  return {
    OpenRun: unary({ run: text, generation: 1, writers: 1 }),
    GetRun: ((call, callback) => {
      const isPushable = (call.request as { run: string }).run === PUSHABLE;
      callback(null, runOf(text, isPushable ? 'w' : text));
    }) satisfies Unary,
    ListRuns: unary({ runs: [runOf(text)] }),
    AddAverage: unary({}),
    RemoveAverage: unary({}),
    DeleteRun: unary({ freed_bytes: 1 }),
    WatchRun: (call: ServerWritableStream<object, object>) => {
      call.write({ run: text, generation: 1, committed_step: 1, averages: [{ name: text, num_updates: 1 }] });
    },
    GetShadow: (call: ServerWritableStream<object, object>) => {
      call.write({ header });
      call.write({ chunk: { offset: 0, data: SPACE, crc32c: crc32c(SPACE) } });
      call.write({ end: { total_bytes: SPACE_BYTES } });
      call.end();
    },
    Update: (call: ServerDuplexStream<{ open?: object; commit?: { step: number } }, object>) => {
      call.on('end', () => call.end());
      call.on('data', ({ open, commit }) => {
        if (open) call.write({ opened: { step_bytes: SPACE_BYTES, first_step_bytes: SPACE_BYTES } });
        if (commit) call.write({ ack: { step: commit.step, state: REJECTED, detail: text } });
      });
    },
  };
}

/** A failure in which every text, also the reason and the metadata, is the peer's. */
function failureWith(text: string, isOurs: boolean) {
  const error = new ShadowkeepError('INTERNAL', text, { metadata: { [text]: text } });
  const metadata = new Metadata();
  if (isOurs) {
    const details = encodeErrorDetails(Object.assign(error, { reason: text }), status.INTERNAL);
    metadata.set('grpc-status-details-bin', details);
  }
  return { code: status.INTERNAL, details: text, metadata };
}

export type PeerMood = 'answers' | 'fails' | 'fails without a reason';

/** Starts a service that puts the text into every field of its answers, or of its failures. */
export async function startTalker(text: string, mood: PeerMood): Promise<string> {
  const failing: UntypedHandleCall = (call: unknown, callback?: sendUnaryData<object>) => {
    const failure = failureWith(text, mood === 'fails');
    if (callback) callback(failure);
    else (call as ServerWritableStream<object, object>).emit('error', failure);
  };
  const methods = mood === 'answers' ? answers(text) : {};
  const server = new Server();
  servers.add(server);
  server.addService(
    shadowWeightsDefinition,
    Object.fromEntries(Object.keys(shadowWeightsDefinition).map((name) => [name, methods[name] ?? failing])),
  );
  server.addService(healthService, { Check: failing, Watch: failing });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return `127.0.0.1:${port}`;
}
