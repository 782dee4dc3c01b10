/**
 * What the processes of the demo tell each other over Node's IPC channel (structured clones). None of it takes part in
 * the service: weights go through gRPC only, and what is sent here is what the parent checks them against.
 */

export interface Failed {
  readonly kind: 'failed';
  readonly message: string;
}

/** The run is open and has its first weights; the trainer waits until it is told to go on. */
export interface Opened {
  readonly kind: 'opened';
  /** Bytes of one step on the wire. */
  readonly stepBytes: number;
}

/** The trainer's weights of one step, before they are sent. Step 0: the first weights. */
export interface Trained {
  readonly kind: 'trained';
  readonly step: number;
  /** Mean cross entropy of the step's batch; absent at step 0. */
  readonly loss?: number;
  readonly accuracyRaw: number;
  /** The EMA at this step in float64, and how far a float32 one may be from it. */
  readonly reference: Float64Array;
  readonly errorBound: number;
}

/** All steps are acknowledged. */
export interface Acknowledged {
  readonly kind: 'acknowledged';
  /** Steps that were acknowledged as committed by this push. */
  readonly steps: number;
  readonly seconds: number;
}

export type TrainerMessage = Opened | Trained | Acknowledged | Failed;

/** The evaluator follows the run and has pulled its first weights. */
export interface Watching {
  readonly kind: 'watching';
}

/** One shadow, as the evaluator pulled it. */
export interface Pulled {
  readonly kind: 'pulled';
  readonly step: number;
  readonly numUpdates: number;
  readonly accuracyEma: number;
  /** All tensors, one after another. */
  readonly values: Float32Array;
  /** Bytes of tensors pulled. */
  readonly bytes: number;
}

export type EvaluatorMessage = Watching | Pulled | Failed;
