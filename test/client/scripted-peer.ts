import { Metadata, type ServerDuplexStream, status } from '@grpc/grpc-js';
import type { ShadowkeepClient } from '../../src/client/index.js';
import { type ErrorReason, ShadowkeepError } from '../../src/common/index.js';
import { encodeErrorDetails } from '../../src/protocol/index.js';
import { startPeer } from './support.js';

interface Message {
  message: string;
  open?: { takeover: boolean; writer: number };
  chunk?: { step: number; offset: number; data: Buffer };
  commit?: { step: number; bytes: number; skipped: boolean };
}

/** The status with which a service answers for a reason of the error table. */
export function statusOf(reason: ErrorReason): { code: number; details: string; metadata: Metadata } {
  const error = new ShadowkeepError(reason, 'as the test says');
  const code = status[error.code];
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', encodeErrorDetails(error, code));
  return { code, details: error.message, metadata };
}

/** One stream of a writer, with what the peer has received on it. */
export class SeenStream {
  takeover = false;
  readonly chunks: { step: number; offset: number; data: Buffer }[] = [];
  readonly commits: number[] = [];
  /** Whether the peer has ended the stream. Later messages on it do not count. */
  isBroken = false;
  readonly #call: ServerDuplexStream<Message, object>;

  constructor(call: ServerDuplexStream<Message, object>) {
    this.#call = call;
  }

  /** How many bytes of a step have come on this stream. */
  bytesOf(step: number): number {
    return this.chunks.filter((chunk) => chunk.step === step).reduce((sum, { data }) => sum + data.length, 0);
  }

  answer(message: object): void {
    this.#call.write(message);
  }

  ack(step: number, state = 'COMMITTED'): void {
    this.answer({ ack: { step, state, committed_step: step } });
  }

  /** Ends the stream with a reason of the error table. */
  refuse(reason: ErrorReason): void {
    this.isBroken = true;
    this.#call.emit('error', statusOf(reason));
  }

  /** Ends the stream with a status, as a connection that broke does. */
  break(code = 14, details = 'the connection broke'): void {
    this.isBroken = true;
    this.#call.emit('error', { code, details });
  }
}

/** What the peer does on one stream: its answer to `open`, and what it does after each message. */
export interface Script {
  /** The answer to `open`. Without it the stream hangs. */
  opened?: object | ((before: readonly SeenStream[]) => object);
  onOpen?(stream: SeenStream): void;
  onChunk?(stream: SeenStream): void;
  onCommit?(stream: SeenStream, step: number): void;
}

/**
 * Starts a service that does on the n-th stream of its writer what the n-th script says; the last one serves the rest.
 */
export async function startScripted(
  stepBytes: number,
  scripts: readonly Script[],
): Promise<{ client: ShadowkeepClient; streams: SeenStream[] }> {
  const streams: SeenStream[] = [];
  const { client } = await startPeer({
    OpenRun: (_call: unknown, callback: (error: null, response: object) => void) =>
      callback(null, { run: 'r', generation: 1, writers: 1 }),
    Update: (call: ServerDuplexStream<Message, object>) => {
      const script = scripts[Math.min(streams.length, scripts.length - 1)]!;
      const stream = new SeenStream(call);
      streams.push(stream);
      call.on('error', () => {});
      call.on('end', () => call.end());
      call.on('data', ({ open, chunk, commit }: Message) => {
        if (stream.isBroken) return;
        if (open) {
          stream.takeover = open.takeover;
          const said = typeof script.opened === 'function' ? script.opened(streams.slice(0, -1)) : script.opened;
          if (said) stream.answer({ opened: { step_bytes: stepBytes, first_step_bytes: stepBytes, ...said } });
          script.onOpen?.(stream);
        } else if (chunk) {
          stream.chunks.push(chunk);
          script.onChunk?.(stream);
        } else if (commit) {
          stream.commits.push(commit.step);
          script.onCommit?.(stream, commit.step);
        }
      });
    },
  });
  return { client, streams };
}
