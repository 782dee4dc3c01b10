import type { EventEmitter } from 'node:events';

/**
 * A signal that aborts when the peer is gone, or when `end` is called with why the call must end. Its reason is the
 * error.
 */
export function callSignal(call: EventEmitter): {
  signal: AbortSignal;
  end: (error: Error) => void;
} {
  const controller = new AbortController();
  call.on('cancelled', () => controller.abort(new PeerGone()));
  return { signal: controller.signal, end: (error) => controller.abort(error) };
}

/** The peer cancelled its call or its connection broke, so nobody is there to get a status. */
export class PeerGone extends Error {
  override readonly name = 'PeerGone';
}
