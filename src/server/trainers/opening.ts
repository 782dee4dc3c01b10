import { createHash } from 'node:crypto';
import { Lease, type Ledger, type Run } from '../../engine/index.js';
import { inTurns } from '../loop/in-slices.js';
import { decodeOpenRun, type OpenRun, validatingOpenRun } from '../messages/index.js';

/** Where in the run each tensor of a request is; undefined: they are in the run's order. */
type Order = Uint32Array | undefined;

/** Opens the run of a request; `order` is known when the request is one that came before. */
type OpenRequest<Answer> = (opening: OpenRun, order: Order) => Promise<{ run: Run; answer: Answer; order: Order }>;

/**
 * Understands the bytes of OpenRun requests. A thousand ranks open a run with the same ones: the last request that a run was
 * opened with is remembered, by its digest, and what it was found to be is its answer again.
 */
export class Openings {
  readonly #ledger: Ledger;
  #last: { readonly digest: string; readonly opening: OpenRun; readonly run: Run; readonly order: Order } | undefined;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /**
   * Decodes and checks a request, in slices, and hands it to `open`, which makes it a run or finds the run that it is of.
   * What it takes meanwhile is reserved. Throws what is wrong with the request, and MEMORY_EXHAUSTED.
   */
  async open<Answer>(parts: readonly Buffer[], open: OpenRequest<Answer>): Promise<Answer> {
    const digest = digestOf(parts);
    const last = this.#last;
    if (last?.digest === digest && !last.run.isDeleted) return (await open(last.opening, last.order)).answer;
    const heap = new Lease(this.#ledger, 'a request to open a run');
    try {
      const request = await inTurns(decodeOpenRun(parts, (bytes) => heap.take(bytes)));
      const opening = await inTurns(validatingOpenRun(request));
      const { run, answer, order } = await open(opening, undefined);
      // The run's own list of tensors, which is reserved: that of the request goes.
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

  /** Lets go of a run that is deleted. */
  forget(run: Run): void {
    if (this.#last?.run === run) this.#last = undefined;
  }
}

function digestOf(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  // With its length: two parts are another request than one with the same bytes.
  for (const part of parts) hash.update(`${part.length} `).update(part);
  return hash.digest('base64');
}
