import { type DigestValue, EMPTY_DIGEST } from '../fold/digest.js';
import { type NonFinitePolicy, NonFiniteScan } from '../fold/non-finite.js';
import type { WirePlan } from '../layout/wire-plan.js';

/** Holds what was found in the bytes of a writer's part of a step: infinities and NaN, and the digest. */
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
