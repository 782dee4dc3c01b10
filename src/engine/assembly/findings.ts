import { type DigestValue, EMPTY_DIGEST } from '../fold/digest.js';
import { type NonFinitePolicy, NonFiniteScan } from '../fold/non-finite.js';
import type { WirePlan } from '../layout/wire-plan.js';

/** What is kept of the bytes that a writer sends of a step: what is not finite, and their digest. */
export class Findings {
  readonly nonFinite: NonFiniteScan;
  digest: DigestValue = EMPTY_DIGEST;

  constructor(plan: WirePlan, policy: NonFinitePolicy) {
    this.nonFinite = new NonFiniteScan(plan, policy);
  }

  reset(): void {
    this.nonFinite.reset();
    this.digest = EMPTY_DIGEST;
  }
}
