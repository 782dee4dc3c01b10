import { type EventEmitter, once } from 'node:events';

/** The answering side of a streaming call. */
export interface ResponseStream<Message> extends EventEmitter {
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  write(message: Message): boolean;
  end(): void;
}

/**
 * Writes and, when the stream's buffer is full, waits until it has drained or the peer is gone. With `timeoutMs`,
 * resolves false when that takes longer.
 */
export async function writeMessage<Message>(
  call: ResponseStream<Message>,
  message: Message,
  timeoutMs?: number,
): Promise<boolean> {
  if (call.destroyed || call.writableEnded || call.write(message)) return true;
  const done = new AbortController();
  const { signal } = done;
  const waits: Promise<unknown>[] = [once(call, 'drain', { signal }), once(call, 'close', { signal })];
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<false>((resolve) => {
    if (timeoutMs !== undefined) timer = setTimeout(() => resolve(false), timeoutMs);
  });
  try {
    return (await Promise.race([...waits.map((wait) => wait.then(() => true)), timeout])) !== false;
  } finally {
    clearTimeout(timer);
    for (const wait of waits) wait.catch(() => undefined);
    done.abort();
  }
}
