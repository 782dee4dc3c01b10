import { createHash } from 'node:crypto';
import { Lease, type Ledger, type Run } from '../../engine/index.js';
import { inTurns } from '../loop/in-slices.js';
import { decodeOpenRun, type OpenRun, validatingOpenRun } from '../messages/index.js';

/** The index in the run of each tensor of a request; undefined when both have the same order. */
type Order = Uint32Array | undefined;

/** Opens the run of a checked request. `order` is given when the same request has opened the run before. */
type OpenRequest<Answer> = (opening: OpenRun, order: Order) => Promise<{ run: Run; answer: Answer; order: Order }>;

/**
 * Decodes and checks OpenRun requests. A thousand ranks open a run with the same bytes, so the last request that opened
 * a run is remembered by its digest, and a request with that digest is not decoded and checked again.
 */
export class Openings {
  readonly #ledger: Ledger;
  #last: { readonly digest: string; readonly opening: OpenRun; readonly run: Run; readonly order: Order } | undefined;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /**
   * Decodes and checks a request in slices, and hands it to `open`, which creates or finds its run. The heap that this
   * takes is reserved in the ledger meanwhile. Throws what is wrong with the request, and MEMORY_EXHAUSTED.
   */
  async open<Answer>(parts: readonly Buffer[], open: OpenRequest<Answer>): Promise<Answer> {
    const digest = digestOf(parts);
    const last = this.#last;
    if (last?.digest === digest && !last.run.isDeleted) return (await open(last.opening, last.order)).answer;
    const heap = new Lease(this.#ledger, 'a request to open a run');
    try {
      const request = await inTurns(decodeOpenRun(parts, (bytes) => heap.reserve(bytes)));
      const opening = await inTurns(validatingOpenRun(request));
      const { run, answer, order } = await open(opening, undefined);
      // What is kept refers to the run's own list of tensors, whose memory is reserved, so that the request's list is
      // freed.
      this.#last = {
        digest,
        run,
        order,
        opening: { ...opening, spec: { ...opening.spec, tensors: run.spec.tensors } },
      };
      return answer;
    } finally {
      heap.release();
    }
  }

  /** Lets go of a run that was deleted, so that its memory can be freed. */
  forget(run: Run): void {
    if (this.#last?.run === run) this.#last = undefined;
  }
}

function digestOf(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  // The lengths of the parts count, because the same bytes cut differently are another request.
  for (const part of parts) hash.update(`${part.length} `).update(part);
  return hash.digest('base64');
}
