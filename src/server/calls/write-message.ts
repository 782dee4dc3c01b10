import { type EventEmitter, once } from 'node:events';

/** The answering side of a streaming call. */
export interface ResponseStream<Message> extends EventEmitter {
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  write(message: Message, written?: (error?: Error | null) => void): boolean;
  end(): void;
}

/** Writes a message. When the stream's buffer is full, waits until it has drained or the peer is gone. */
export async function writeMessage<Message>(call: ResponseStream<Message>, message: Message): Promise<void> {
  if (call.destroyed || call.writableEnded || call.write(message)) return;
  const done = new AbortController();
  const waits = ['drain', 'close'].map((event) => once(call, event, { signal: done.signal }));
  try {
    await Promise.race(waits);
  } finally {
    for (const wait of waits) wait.catch(() => undefined);
    done.abort();
  }
}
