import {
  type ChannelOptions,
  type Client,
  credentials,
  InterceptingCall,
  type Interceptor,
  logVerbosity,
  makeClientConstructor,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import { MESSAGE_BYTES_MAX } from '../common/index.js';
import { checkMessage, SERVICE_NAME, type ShadowWeightsClient, SINGLE_REQUESTS } from '../protocol/index.js';
import { chunkPassingDefinition, passChunks } from './outgoing-chunk.js';
import { inWords, isLoopback } from './target.js';

/** Receive window of a stream. Node's default of 64 KiB starves reads over a network; 8 MiB carry 1 GB/s at 8 ms. */
const WINDOW_BYTES = 8 << 20;

/**
 * Largest answer that the client takes. Long answers come in parts of about 1 MiB; the rest is room for other services.
 */
const RECEIVE_BYTES_MAX = 4 * MESSAGE_BYTES_MAX;

/** A service that vanished without a word is noticed after at most the sum of these two. */
const KEEPALIVE_INTERVAL_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** Bounds of gRPC's waits before it connects again. The calls that need the service have waits of their own. */
const CONNECT_DELAY_MS_FIRST = 100;
const CONNECT_DELAY_MS_MAX = 5_000;

const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc-node.flow_control_window': WINDOW_BYTES,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_receive_message_length': RECEIVE_BYTES_MAX,
  'grpc.keepalive_time_ms': KEEPALIVE_INTERVAL_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.initial_reconnect_backoff_ms': CONNECT_DELAY_MS_FIRST,
  'grpc.max_reconnect_backoff_ms': CONNECT_DELAY_MS_MAX,
  // gRPC's retries would keep a copy of all that was streamed, and this client sends a step again by itself.
  'grpc.enable_retries': 0,
  // Otherwise gRPC reports the first MiB of a call as written before it is, and a chunk's memory would be used again too soon.
  'grpc.per_rpc_retry_buffer_size': 0,
  // Channels of one process share no connection, so that a trainer's uploads never wait behind a reader.
  'grpc.use_local_subchannel_pool': 1,
};

const ShadowWeights = makeClientConstructor(chunkPassingDefinition, SERVICE_NAME);

/** Keeps gRPC from writing to standard error what the errors of its calls say again. For command-line programs. */
export function silenceTransportLog(): void {
  setLogVerbosity(logVerbosity.NONE);
}

/**
 * A plaintext stub of the service at HOST:PORT, which connects with its first call. A method with a single request
 * throws INVALID_FIELD for a request that would not arrive as it is. Whoever writes to a stream
 * checks its messages.
 */
export function createStub(target: string): ShadowWeightsClient {
  const options = { ...CHANNEL_OPTIONS, ...wayOptions(target, () => stub) };
  const stub: Client = new ShadowWeights(target, credentials.createInsecure(), options);
  passChunks(stub);
  const calls = stub as unknown as Record<string, (request: object, ...rest: unknown[]) => unknown>;
  for (const [method, requestType] of SINGLE_REQUESTS) {
    const send = calls[method]?.bind(stub);
    if (send === undefined) continue;
    calls[method] = (request, ...rest) => {
      checkMessage(requestType, request);
      return send(request, ...rest);
    };
  }
  return stub as unknown as ShadowWeightsClient;
}

/**
 * The options of every channel to `target`: services on this machine are reached without a proxy, and a failure to
 * reach a service says where it was looked for.
 */
export function wayOptions(target: string, client: () => Client) {
  return {
    ...(isLoopback(target) && { 'grpc.enable_http_proxy': 0 }),
    interceptors: [namingTarget(target, client)],
  };
}

function namingTarget(target: string, client: () => Client): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, _listener, next) =>
        next(metadata, {
          onReceiveStatus: (received, pass) => {
            const isOwn =
              received.code === status.UNAVAILABLE && received.metadata.get('grpc-status-details-bin').length === 0;
            if (!isOwn) return pass(received);
            const way = { target, channelTarget: client().getChannel().getTarget() };
            pass({ ...received, details: inWords(received.details, way) });
          },
        }),
    });
}
