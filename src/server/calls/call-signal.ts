import type { EventEmitter } from 'node:events';

/** Aborts when the peer is gone or when `end` says why the call must end; the reason is what is thrown. */
export function callSignal(call: EventEmitter): {
  signal: AbortSignal;
  end: (error: Error) => void;
} {
  const controller = new AbortController();
  call.on('cancelled', () => controller.abort(new PeerGone()));
  return { signal: controller.signal, end: (error) => controller.abort(error) };
}

/** The peer cancelled or its connection broke: nobody is there to be told. */
export class PeerGone extends Error {
  override readonly name = 'PeerGone';
}
