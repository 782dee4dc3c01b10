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

/** What a service answers with for a reason. */
export function statusOf(reason: ErrorReason): { code: number; details: string; metadata: Metadata } {
  const error = new ShadowkeepError(reason, 'as the test says');
  const code = status[error.code];
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', encodeErrorDetails(error, code));
  return { code, details: error.message, metadata };
}

/** One stream of a writer, as the peer has seen it. */
export class SeenStream {
  takeover = false;
  readonly chunks: { step: number; offset: number; data: Buffer }[] = [];
  readonly commits: number[] = [];
  /** Nothing of what comes afterwards counts. */
  isBroken = false;
  readonly #call: ServerDuplexStream<Message, object>;

  constructor(call: ServerDuplexStream<Message, object>) {
    this.#call = call;
  }

  /** Bytes of a step that have come on this stream. */
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

/** What the peer does on one stream: what it answers to `open`, and after each message. */
export interface Script {
  /** Nothing: the stream hangs. */
  opened?: object | ((before: readonly SeenStream[]) => object);
  onOpen?(stream: SeenStream): void;
  onChunk?(stream: SeenStream): void;
  onCommit?(stream: SeenStream, step: number): void;
}

/** A service that does on each stream of its one writer what a test says; the last script serves all later streams. */
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
